"""Cross entropy over cluster prototypes, with hard labels and with the soft labels of a mix: L_mix, Cluster Contrast.

Letters: B queries, K clusters, D embedding.
"""

import torch.nn.functional as F
from torch import Tensor


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
