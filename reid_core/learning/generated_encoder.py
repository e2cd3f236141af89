"""Which images may speak in an encoder's batch normalisation, and which of them speak together.

Letters: n images of a forward pass, G groups of the global batch, C channels, W ranks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reid_core.distributed import sum_over_ranks, world
from reid_core.models.speed import widened


def freeze_batch_norm(module: nn.Module) -> None:
    """Let every batch norm use its running statistics and leave them alone; call after ``train()``."""
    for layer in _batch_norms(module):
        layer.eval()


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Leave running statistics alone inside the block: they describe real images, which evaluation sees."""
    layers = _batch_norms(module)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


class BatchNormGroups:
    """Splits a global batch into groups that are normalised apart, the same for every number of ranks.

    Image p of the global batch belongs to group p modulo G. As rank r holds the images r, r + W, ..., a group lies on
    one rank where W divides G, and nothing has to be exchanged; otherwise its statistics are summed over the ranks.
    With one rank and one group, torch's own batch norm is used as it is.

    Args:
        encoder: Its batch norms are replaced by ones that know groups, in place; names and values stay.
        batch_size: Images of the global batch.
        group_size: Images of a group, a divisor of ``batch_size``; 0 makes one group of the whole batch.
    """

    def __init__(self, encoder: nn.Module, batch_size: int, group_size: int) -> None:
        assert group_size == 0 or batch_size % group_size == 0, (batch_size, group_size)
        self.num_groups = batch_size // group_size if group_size else 1
        self._batch_size = batch_size
        rank, size = world()
        self._positions = torch.arange(rank, batch_size, size)
        self._layers: list[GroupedBatchNorm] = []
        if size > 1 or self.num_groups > 1:
            _replace(encoder, shared=self.num_groups % size != 0, num_groups=self.num_groups)
            self._layers = [layer for layer in encoder.modules() if isinstance(layer, GroupedBatchNorm)]

    @contextmanager
    def of(self, *sources: Tensor) -> Iterator[None]:
        """Say which images the forward pass in the block sees.

        Args:
            sources: For each kind of image in the pass, the positions in this rank's batch that they were made from.
        """
        if not self._layers:
            yield
            return
        groups = self._positions.to(sources[0].device)[torch.cat(sources)] % self.num_groups
        for layer in self._layers:
            layer.groups = groups
        try:
            yield
        finally:
            for layer in self._layers:
                layer.groups = None


class GroupedBatchNorm(_BatchNorm):
    """Batch norm of any number of dimensions whose statistics are those of an image's group.

    A group with a single value a channel has no deviation: it is normalised by the running statistics. These move by
    the mean over the groups.

    Attributes:
        groups: Group of each image of the next forward pass, shape (n,); None means one group.
    """

    def __init__(self, like: _BatchNorm, *, num_groups: int, shared: bool) -> None:
        super().__init__(
            like.num_features,
            like.eps,
            like.momentum,
            like.affine,
            like.track_running_stats,
            device=like.weight.device,
            dtype=like.weight.dtype,
        )
        self.load_state_dict(like.state_dict())
        for own, old in zip(self.parameters(), like.parameters(), strict=True):
            own.requires_grad_(old.requires_grad)
        self.groups: Tensor | None = None
        self.num_groups = num_groups
        self.shared = shared

    def _check_input_dim(self, input: Any) -> None:
        assert input.dim() >= 2, input.shape

    def forward(self, input: Tensor) -> Tensor:
        """Normalise images, (n, C, ...)."""
        if not self.training:
            return super().forward(input)
        groups = input.new_zeros(len(input), dtype=torch.long) if self.groups is None else self.groups
        assert len(groups) == len(input), f"groups of {len(groups)} images for {len(input)} images"
        assert self.running_mean is not None
        assert self.running_var is not None
        values = widened(input)  # statistics of few bits would be noise
        values = values.flatten(2) if input.dim() > 2 else values[:, :, None]  # (n, C, L)
        count = torch.bincount(groups, minlength=self.num_groups).to(values) * values.shape[2]  # (G,)
        count = self._over_ranks(count)[:, None]
        mean = self._sum_by_group(values.sum(dim=2), groups) / count.clamp_min(1)  # (G, C)
        centred = values - mean[groups][:, :, None]
        squares = self._sum_by_group(centred.square().sum(dim=2), groups)
        variance = squares / count.clamp_min(1)

        lonely = (count <= 1)[groups]  # (n, 1)
        deviation = torch.where(lonely, self.running_var, variance[groups]).add(self.eps).rsqrt()
        centred = torch.where(lonely[:, :, None], values - self.running_mean[:, None], centred)
        normalised = centred * deviation[:, :, None]
        if self.weight is not None:
            normalised = normalised * self.weight[:, None] + self.bias[:, None]
        self._follow(mean.detach(), (squares / (count - 1).clamp_min(1)).detach(), count[:, 0] > 1)
        return normalised.view(input.shape).to(input.dtype)

    def _sum_by_group(self, sums: Tensor, groups: Tensor) -> Tensor:
        total = sums.new_zeros(self.num_groups, sums.shape[1]).index_add(0, groups, sums)
        return self._over_ranks(total)

    def _over_ranks(self, sums: Tensor) -> Tensor:
        return sum_over_ranks(sums) if self.shared else sums

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, counted: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        if not self.momentum or not bool(counted.any()):
            return
        self.running_mean.lerp_(mean[counted].mean(dim=0), self.momentum)
        self.running_var.lerp_(variance[counted].mean(dim=0), self.momentum)


def _replace(module: nn.Module, *, num_groups: int, shared: bool) -> None:
    for name, child in module.named_children():
        if isinstance(child, GroupedBatchNorm):
            child.num_groups, child.shared = num_groups, shared
        elif isinstance(child, _BatchNorm):
            new = GroupedBatchNorm(child, num_groups=num_groups, shared=shared)
            setattr(module, name, new.train(child.training))
        else:
            _replace(child, num_groups=num_groups, shared=shared)


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
