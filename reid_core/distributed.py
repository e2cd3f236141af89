"""Exchange between ranks; every function is the identity without a process group.

Letters: B images of one rank, W ranks, n values.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> tuple[int, int]:
    """Return this process's rank and the number of ranks."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def own_rows() -> slice:
    """Return which rows of a global batch are this rank's: every W-th one, starting at the rank."""
    rank, size = world()
    return slice(rank, None, size)


def own_slice(batch: Tensor) -> Tensor:
    """Return this rank's part of a global batch.

    Args:
        batch: Rows of the global batch in its first dimension, a multiple of the number of ranks.

    Returns:
        Every W-th row, starting at the rank.
    """
    _, size = world()
    assert len(batch) % size == 0, f"a global batch of {len(batch)} does not split over {size} ranks"
    return batch[own_rows()]


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


def gather_batch(rows: Tensor) -> Tensor:
    """Put the slices of all ranks together again, in the order of the global batch; gradients find their way back.

    Args:
        rows: What ``own_slice`` gave, or what was made of it, one row an image, shape (B, ...), B the same everywhere.

    Returns:
        Shape (W * B, ...), the same values on every rank.
    """
    _, size = world()
    if size == 1:
        return rows
    gathered: Tensor = _GatherBatch.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def sum_over_ranks(values: Tensor) -> Tensor:
    """Add up a tensor of the same shape on every rank; gradients are added up on their way back."""
    if world()[1] == 1:
        return values
    total: Tensor = _SumOverRanks.apply(values)  # type: ignore[no-untyped-call]
    return total


def mean_over_ranks(values: Tensor) -> Tensor:
    """Return this rank's share of the mean over the values of all ranks.

    Ranks may hold different numbers of values: a turned view exists only where there is a mesh. The mean of all ranks'
    shares is the mean of all values, so that losses made of shares have the right gradient after
    ``average_gradients``, however the values are spread.

    Args:
        values: Any number of values, also none, shape (n,).

    Returns:
        Scalar; alone, the plain mean. 0 where no rank has a value.
    """
    _, size = world()
    if size == 1:
        return values.mean() if values.numel() else values.sum()
    count = torch.full((), float(values.numel()), device=values.device, dtype=values.dtype)
    dist.all_reduce(count)
    return values.sum() * (size / count.clamp_min(1))


def whole_mean(values: Tensor) -> Tensor:
    """Return the mean of the detached values of all ranks, of any number on each; the same scalar on every rank."""
    _, size = world()
    values = values.detach()
    if size == 1:
        return values.mean()
    both = torch.stack([values.sum(), torch.full_like(values.sum(), values.numel())])
    dist.all_reduce(both)
    return both[0] / both[1].clamp_min(1)


def count_over_ranks(count: int, device: torch.device) -> int:
    """Return the sum of a number over all ranks; waits for all of them, so it has no place inside a step."""
    _, size = world()
    if size == 1:
        return count
    total = torch.tensor(count, device=device)
    dist.all_reduce(total)
    return int(total)


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


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rank, size = world()
        ctx.own = (rank, size)
        parts = [torch.empty_like(rows) for _ in range(size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)  # the i-th row of rank r is the (i * W + r)-th of the batch

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        rank, size = ctx.own
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[rank::size]


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient
