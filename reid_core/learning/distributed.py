"""What ranks tell each other, in the open; every function is the identity without a process group.

Letters: B rows of one rank, W ranks.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> tuple[int, int]:
    """Return this process's rank and the number of ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def own_slice(batch: Tensor) -> Tensor:
    """Return this rank's part of a global batch.

    Args:
        batch: Rows of the global batch in its first dimension, a multiple of the number of ranks.

    Returns:
        Every W-th row, starting at the rank.
    """
    rank, size = world()
    assert len(batch) % size == 0, f"a global batch of {len(batch)} does not split over {size} ranks"
    return batch[rank::size]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of all ranks in place, by one all-reduce of one flat buffer."""
    _, size = world()
    if size == 1:
        return
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    # A rank whose slice had no mesh at all has no gradient for some parameters; the others do.
    for parameter in wanted:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in wanted if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= size
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all ranks, rank by rank.

    Args:
        rows: Shape (B, ...), the same on every rank.

    Returns:
        Shape (W * B, ...), the same values on every rank.
    """
    _, size = world()
    if size == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(size)]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def broadcast(tensor: Tensor) -> Tensor:
    """Return rank 0's values; the tensor has the same shape and type on every rank."""
    if world()[1] > 1:
        dist.broadcast(tensor, src=0)
    return tensor


def synchronise_buffers(module: nn.Module) -> None:
    """Give every rank the mean of the ranks' running statistics, so that one checkpoint speaks for all."""
    _, size = world()
    if size == 1:
        return
    for buffer in module.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= size
