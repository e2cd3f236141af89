"""Contrast against the rows of a memory: the terms of L_rot.

Letters: B queries, N memory rows, D embedding.

Cross entropy over cluster prototypes, with hard labels and with the soft labels of a mix: L_mix, Cluster Contrast.

Letters: B queries, K clusters, D embedding.

Which memory rows a query should match and which it should not, by pseudo labels.

Letters: B queries, N memory rows.

The contrastive terms of joint training: L_rot and L_mix.

Letters: B images, V of them with another view, N memory rows, K clusters, D embedding.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.distributed import count_over_ranks, mean_over_ranks, own_slice
from reid_core.learning.mixing import Mixture


def memory_nce(query: Tensor, bank: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """Contrast each query with one positive row and its negative rows of a memory.

    Args:
        query: L2-normalised features, shape (B, D).
        bank: L2-normalised memory rows, shape (N, D). Read, never written.
        positive: Row of ``bank`` that each query should match, shape (B,).
        negatives: True where a row of ``bank`` is a negative, shape (B, N).
        temperature: Softmax temperature, above 0.

    Returns:
        Loss of every query, shape (B,); 0 for a query without negatives.
    """
    assert temperature > 0, temperature
    similarity = query @ bank.T / temperature  # (B, N)
    positive_logit = similarity.gather(1, positive[:, None])  # (B, 1)
    negative_logits = similarity.masked_fill(~negatives, float("-inf"))  # (B, N)
    return torch.cat([positive_logit, negative_logits], dim=1).logsumexp(dim=1) - positive_logit.squeeze(1)


def prototype_cross_entropy(query: Tensor, prototypes: Tensor, label: Tensor, *, temperature: float) -> Tensor:
    """Classify each query among the prototypes (Cluster Contrast, arXiv 2103.11568, equation 1).

    Args:
        query: L2-normalised features, shape (B, D).
        prototypes: L2-normalised, shape (K, D). Read, never written.
        label: Cluster of each query, shape (B,).
        temperature: Softmax temperature, above 0.

    Returns:
        Loss of every query, shape (B,).
    """
    assert temperature > 0, temperature
    return F.cross_entropy(query @ prototypes.T / temperature, label, reduction="none")


def mixed_prototype_cross_entropy(
    query: Tensor, prototypes: Tensor, labels: tuple[Tensor, Tensor], ratio: Tensor, *, temperature: float
) -> Tensor:
    """Classify each mixed query as its two sources, in proportion (the soft cross entropy of L_mix).

    Args:
        query: L2-normalised features of mixed images, shape (B, D).
        prototypes: L2-normalised, shape (K, D). Read, never written.
        labels: Clusters of the first and of the second source, shape (B,) each.
        ratio: Share of the first source, in [0, 1], shape (B,).
        temperature: Softmax temperature, above 0.

    Returns:
        Loss of every query, shape (B,).
    """
    first = prototype_cross_entropy(query, prototypes, labels[0], temperature=temperature)
    second = prototype_cross_entropy(query, prototypes, labels[1], temperature=temperature)
    return ratio * first + (1 - ratio) * second


def same_cluster_rows(
    labels: Tensor, index: Tensor, *, generator: torch.Generator, cameras: Tensor | None = None
) -> Tensor:
    """Draw another row of the same cluster for every query; its own row when the cluster has no other.

    Args:
        labels: Pseudo label of every row, -1 for an outlier, shape (N,).
        index: Own row of every query, shape (B,).
        generator: Source of randomness, on the CPU.
        cameras: Camera of every row, shape (N,): rows of other cameras are preferred. None uses no camera.

    Returns:
        One row a query, shape (B,).
    """
    allowed = (labels[None, :] == labels[index][:, None]) & (labels[index][:, None] >= 0)
    allowed[torch.arange(len(index), device=allowed.device), index] = False
    score = torch.rand(allowed.shape, generator=generator).to(allowed.device).masked_fill(~allowed, -1.0)
    if cameras is not None:
        score = score + (cameras[None, :] != cameras[index][:, None]) * 2.0 * allowed
    best, row = score.max(dim=1)
    return torch.where(best >= 0, row, index)


def other_cluster_rows(labels: Tensor, index: Tensor, *, most: int, generator: torch.Generator) -> Tensor:
    """Choose the negatives of every query among rows of other clusters; outliers are left out.

    Args:
        labels: Pseudo label of every row, -1 for an outlier, shape (N,).
        index: Own row of every query, shape (B,).
        most: K, the most negatives of one query; more are sampled down to it.
        generator: Source of randomness, on the CPU.

    Returns:
        True where a row is a negative, shape (B, N).
    """
    negatives = (labels[None, :] != labels[index][:, None]) & (labels[None, :] >= 0)
    if labels.shape[0] <= most:
        return negatives
    score = torch.rand(negatives.shape, generator=generator).to(negatives.device).masked_fill(~negatives, -1.0)
    chosen = torch.zeros_like(negatives)
    chosen.scatter_(1, score.topk(most, dim=1).indices, True)
    return chosen & negatives


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
