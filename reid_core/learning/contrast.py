"""The contrastive terms of joint training: L_rot and L_mix.

Letters: B images, V of them with another view, N memory rows, K clusters, D embedding.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from reid_core.learning.distributed import count_over_ranks, mean_over_ranks, own_slice
from reid_core.learning.mixing import Mixture
from reid_core.learning.positives import other_cluster_rows, same_cluster_rows
from reid_core.losses.memory_nce import memory_nce
from reid_core.losses.prototype import mixed_prototype_cross_entropy, prototype_cross_entropy


class Pool(NamedTuple):
    """What a batch is contrasted with, constant during an iteration.

    Attributes:
        rows: Memory, L2-normalised, shape (N, D).
        labels: Pseudo label of every row, -1 for an outlier, shape (N,).
        prototypes: L2-normalised, shape (K, D).
        cameras: Camera of every row, shape (N,), or None to use none.
    """

    rows: Tensor
    labels: Tensor
    prototypes: Tensor
    cameras: Tensor | None


class Draws(NamedTuple):
    """Rows drawn for a batch.

    Attributes:
        positive: A row of the same cluster for every image, shape (B,).
        negatives: True where a row is a negative of the image, shape (B, N).
    """

    positive: Tensor
    negatives: Tensor

    def own(self) -> "Draws":
        """Return this rank's part of what was drawn for the global batch."""
        return Draws(own_slice(self.positive), own_slice(self.negatives))


def draw_rows(pool: Pool, index: Tensor, *, num_negatives: int, generator: torch.Generator) -> Draws:
    """Draw positives and negatives of a batch.

    Args:
        pool: Memory and labels.
        index: Own row of every image, none an outlier, shape (B,).
        num_negatives: The most negatives of one image.
        generator: Source of randomness.

    Returns:
        The drawn rows.
    """
    return Draws(
        positive=same_cluster_rows(pool.labels, index, generator=generator, cameras=pool.cameras),
        negatives=other_cluster_rows(pool.labels, index, most=num_negatives, generator=generator),
    )


def rotation_contrast(
    features: Tensor, view_features: Tensor, viewed: Tensor, index: Tensor, pool: Pool, draws: Draws, temperature: float
) -> Tensor:
    """L_rot: another view must match its own row and its cluster, the image its cluster.

    Args:
        features: f(x), L2-normalised, shape (B, D).
        view_features: f(x_rot), L2-normalised, shape (V, D).
        viewed: Which images have a view, shape (V,).
        index: Own row of every image, shape (B,).
        pool: What to contrast with.
        draws: Positives and negatives of every image.
        temperature: Softmax temperature.

    Returns:
        Scalar: the sum of three means; two of them are missing when no image has a view.
    """
    plain = memory_nce(features, pool.rows, draws.positive, draws.negatives, temperature=temperature)
    loss = mean_over_ranks(plain)
    if count_over_ranks(len(viewed), features.device):
        negatives = draws.negatives[viewed]
        for positive in (index[viewed], draws.positive[viewed]):
            turned = memory_nce(view_features, pool.rows, positive, negatives, temperature=temperature)
            loss = loss + mean_over_ranks(turned)
    return loss


def mixing_contrast(
    features: Tensor, mix_features: Tensor, index: Tensor, mixture: Mixture, pool: Pool, temperature: float
) -> Tensor:
    """L_mix: the image must match its prototype, the mixed image both prototypes in proportion.

    Args:
        features: f(x), L2-normalised, shape (B, D).
        mix_features: f(x_mix), L2-normalised, shape (B, D).
        index: Own row of every image, shape (B,).
        mixture: Partners and ratios.
        pool: What to contrast with.
        temperature: Softmax temperature.

    Returns:
        Scalar: the sum of two means.
    """
    own = pool.labels[index]
    plain = prototype_cross_entropy(features, pool.prototypes, own, temperature=temperature)
    mixed = mixed_prototype_cross_entropy(
        mix_features, pool.prototypes, (own, mixture.partners(own)), mixture.ratio, temperature=temperature
    )
    return mean_over_ranks(plain) + mean_over_ranks(mixed)
