"""The identity encoder as real and generated images pass it in training, and batch norm over fixed groups of a batch.

Letters: B images of one rank, W ranks, n images of a forward pass, G groups of the global batch, C channels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reid_core.distributed import sum_over_ranks, world
from reid_core.learning.generation import Views
from reid_core.models.identity import Encoded, FeatureMaps, IdentityEncoder
from reid_core.models.speed import widened


class GeneratedEncoder:
    """The encoder of a training, which alone decides what batch norm averages over.

    - Running statistics follow real images only: evaluation sees no others.
    - Generated images of one kind pass as a batch of their own, once for all losses, as the equations stand.
    - A global batch may be split into groups that are normalised apart, the same for every number of ranks: image p
      belongs to group p modulo G, and a generated image to the group of its source. As rank r holds the images
      r, r + W, ..., a group lies on one rank where W divides G, and nothing has to be exchanged; otherwise its
      statistics are summed over the ranks. With one rank and one group, torch's own batch norm is used as it is.

    Args:
        encoder: On its device. Where there are several ranks or groups its batch norms are replaced in place; names and
            values of weights stay.
        batch_size: Images of the global batch.
        group_size: Images of a group, a divisor of ``batch_size``; 0 makes one group of the whole batch.
    """

    def __init__(self, encoder: IdentityEncoder, batch_size: int, group_size: int = 0) -> None:
        self.network = encoder
        self._groups = BatchNormGroups(encoder, batch_size, group_size)

    def real(self, images: Tensor) -> Encoded:
        """Encode the real images of this rank's batch, shape (B, 3, H, W); running statistics follow."""
        with self._groups.of():
            return self.network(images)  # type: ignore[no-any-return]

    def generated(self, images: Tensor, sources: Tensor) -> Encoded:
        """Encode generated images (n, 3, H, W), made from ``sources`` (n,), as one batch."""
        with running_statistics_kept(self.network), self._groups.of(sources):
            return self.network(images)  # type: ignore[no-any-return]

    def generated_maps(self, images: Tensor, sources: Tensor) -> FeatureMaps:
        """Return the feature maps alone of what ``generated`` encodes."""
        with running_statistics_kept(self.network), self._groups.of(sources):
            return self.network.maps(images)

    def each_kind(self, views: Views) -> tuple[Encoded, Encoded, Encoded]:
        """Encode x_rec, x_rot and x_mix, each kind as a batch of its own; a kind that is not there gives none."""
        everyone = torch.arange(len(views.reconstruction), device=views.reconstruction.device)
        mixed = everyone[: len(views.mix)]
        if views.num_rotated == 1:
            # A single image has no batch statistics of its own: all kinds pass together.
            images = torch.cat([views.reconstruction, views.rotation, views.mix])
            together = self.generated(images, torch.cat([everyone, views.rotated, mixed]))
            cuts = [0, len(everyone), len(everyone) + len(views.rotated), len(images)]
            reconstruction, rotation, mix = (together.rows(slice(*cut)) for cut in pairwise(cuts))
            return reconstruction, rotation, mix
        reconstruction = self.generated(views.reconstruction, everyone)
        none = reconstruction.rows(slice(0))
        rotation = self.generated(views.rotation, views.rotated) if views.num_rotated else none
        return reconstruction, rotation, self.generated(views.mix, mixed) if len(mixed) else none


def freeze_batch_norm(module: nn.Module) -> None:
    """Let every batch norm use its running statistics and leave them alone; call after ``train()``."""
    for layer in _batch_norms(module):
        layer.eval()


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Leave running statistics alone inside the block."""
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
    """Groups of a global batch that are normalised apart, as ``GeneratedEncoder`` says.

    Args:
        network: On its device; its batch norms are replaced in place where there are several ranks or groups.
        batch_size: Images of the global batch.
        group_size: Images of a group; 0 makes one group of the whole batch.
    """

    def __init__(self, network: nn.Module, batch_size: int, group_size: int) -> None:
        assert group_size == 0 or batch_size % group_size == 0, (batch_size, group_size)
        self.num_groups = batch_size // group_size if group_size else 1
        rank, size = world()
        device = next(network.parameters()).device
        self._group_of = torch.arange(rank, batch_size, size, device=device) % self.num_groups  # (B,)
        self._layers: list[GroupedBatchNorm] = []
        if size > 1 or self.num_groups > 1:
            _replace(network, shared=self.num_groups % size != 0, num_groups=self.num_groups)
            self._layers = [layer for layer in network.modules() if isinstance(layer, GroupedBatchNorm)]

    @contextmanager
    def of(self, sources: Tensor | None = None) -> Iterator[None]:
        """Say which images the forward pass in the block sees.

        Args:
            sources: Positions in this rank's batch that the images were made from, shape (n,); None for the batch.
        """
        for layer in self._layers:
            layer.groups = self._group_of if sources is None else self._group_of[sources]
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
        lengths = values.new_full((len(values), 1), values.shape[2])  # (n, 1)
        count = self._sum_by_group(lengths, groups)  # (G, 1)
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
        self._follow(mean.detach(), (squares / (count - 1).clamp_min(1)).detach(), count > 1)
        return normalised.view(input.shape).to(input.dtype)

    def _sum_by_group(self, sums: Tensor, groups: Tensor) -> Tensor:
        total = sums.new_zeros(self.num_groups, sums.shape[1]).index_add(0, groups, sums)
        return sum_over_ranks(total) if self.shared else total

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, counted: Tensor) -> None:
        """Move running statistics by the mean over the counted groups (G, 1), where there is one; never waits."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        if not self.momentum:
            return
        num_counted = counted.sum()
        for running, groups in ((self.running_mean, mean), (self.running_var, variance)):
            new = torch.where(counted, groups, 0.0).sum(dim=0) / num_counted.clamp_min(1)
            running.lerp_(torch.where(num_counted > 0, new, running), self.momentum)


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
