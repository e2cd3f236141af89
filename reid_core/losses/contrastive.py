"""Contrast of real and generated images: L_rot against a memory, L_mix against cluster prototypes.

Letters: B images, V other views of some of them, N training images in the memory, K clusters, D embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.distributed import mean_over_ranks


def rotation_contrast(
    features: Tensor,
    view_features: Tensor,
    viewed: Tensor,
    *,
    memory: Tensor,
    indices: Tensor,
    positives: Tensor,
    negatives: Tensor,
    temperature: float,
) -> Tensor:
    """L_rot: an image must match its cluster, another view of it its own place in the memory and its cluster.

    Args:
        features: f(x), L2-normalised, shape (B, D).
        view_features: f(x_rot), L2-normalised, shape (V, D).
        viewed: Positions in the batch of the images with a view, shape (V,).
        memory: L2-normalised, shape (N, D). Read, never written.
        indices: Own place of every image in the memory, shape (B,).
        positives: Another place of the same cluster for every image, shape (B,).
        negatives: True where a place of the memory is a negative of the image, shape (B, N).
        temperature: Softmax temperature, above 0.

    Returns:
        Scalar: the sum of three means over the images of all ranks; two of them are 0 where no image has a view.
    """
    image = memory_nce(features, memory, positives, negatives, temperature=temperature)  # (B,)
    against = negatives[viewed]  # (V, N)
    itself = memory_nce(view_features, memory, indices[viewed], against, temperature=temperature)  # (V,)
    cluster = memory_nce(view_features, memory, positives[viewed], against, temperature=temperature)  # (V,)
    return mean_over_ranks(image) + mean_over_ranks(itself) + mean_over_ranks(cluster)


def mixing_contrast(
    features: Tensor,
    mix_features: Tensor,
    *,
    prototypes: Tensor,
    labels: Tensor,
    partner_labels: Tensor,
    ratio: Tensor,
    temperature: float,
) -> Tensor:
    """L_mix: an image must match its prototype, a mixed image the prototypes of both sources in proportion.

    Args:
        features: f(x), L2-normalised, shape (B, D).
        mix_features: f(x_mix), L2-normalised, shape (B, D).
        prototypes: L2-normalised, shape (K, D). Read, never written.
        labels: Cluster of each image, shape (B,).
        partner_labels: Cluster of the image that each was mixed with, shape (B,).
        ratio: Share of the image itself in its mix, in [0, 1], shape (B,).
        temperature: Softmax temperature, above 0.

    Returns:
        Scalar: the sum of two means over the images of all ranks.
    """
    image = prototype_cross_entropy(features, prototypes, labels, temperature=temperature)  # (B,)
    mix = mixed_prototype_cross_entropy(
        mix_features, prototypes, (labels, partner_labels), ratio, temperature=temperature
    )  # (B,)
    return mean_over_ranks(image) + mean_over_ranks(mix)


def memory_nce(query: Tensor, memory: Tensor, positives: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """Contrast each query with one positive and its negatives in a memory.

    Args:
        query: L2-normalised features, shape (B, D).
        memory: L2-normalised features, shape (N, D). Read, never written.
        positives: Place in ``memory`` that each query should match, shape (B,).
        negatives: True where a place of ``memory`` is a negative, shape (B, N).
        temperature: Softmax temperature, above 0.

    Returns:
        Loss of every query, shape (B,); 0 for a query without negatives.
    """
    assert temperature > 0, temperature
    similarity = query @ memory.T / temperature  # (B, N)
    positive_logit = similarity.gather(1, positives[:, None])  # (B, 1)
    negative_logits = similarity.masked_fill(~negatives, float("-inf"))  # (B, N)
    return torch.cat([positive_logit, negative_logits], dim=1).logsumexp(dim=1) - positive_logit.squeeze(1)


def prototype_cross_entropy(query: Tensor, prototypes: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Classify each query among the prototypes (Cluster Contrast, arXiv 2103.11568, equation 1).

    Args:
        query: L2-normalised features, shape (B, D).
        prototypes: L2-normalised, shape (K, D). Read, never written.
        labels: Cluster of each query, shape (B,).
        temperature: Softmax temperature, above 0.

    Returns:
        Loss of every query, shape (B,).
    """
    assert temperature > 0, temperature
    return F.cross_entropy(query @ prototypes.T / temperature, labels, reduction="none")


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
