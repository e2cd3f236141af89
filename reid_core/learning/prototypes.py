"""Cluster prototypes: means of a memory's rows, and the momentum prototypes of Cluster Contrast.

Letters: N images, K clusters, B batch, D embedding.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

PrototypeUpdate = Literal["hardest", "mean"]


def cluster_means(rows: Tensor, labels: Tensor) -> Tensor:
    """Average the rows of every cluster.

    Args:
        rows: L2-normalised, shape (N, D).
        labels: Cluster of each row, -1 for an outlier; clusters are 0..K-1, none empty. Shape (N,).

    Returns:
        L2-normalised prototypes, shape (K, D).
    """
    inside = labels >= 0
    num_clusters = int(labels.max()) + 1
    sums = torch.zeros(num_clusters, rows.shape[1], dtype=rows.dtype, device=rows.device)
    sums.index_add_(0, labels[inside], rows[inside])
    return F.normalize(sums, dim=1)


class MomentumPrototypes:
    """One L2-normalised row a cluster, moved by every batch (Cluster Contrast, arXiv 2103.11568, section 3.3).

    Attributes:
        rows: Shape (K, D).
        momentum: Share of the old row that stays at an update.
        update_by: ``hardest``: by the batch's instance that is least similar to its prototype; ``mean``: by the mean.
    """

    def __init__(self, rows: Tensor, *, momentum: float = 0.1, update_by: PrototypeUpdate = "hardest") -> None:
        assert 0 <= momentum < 1, momentum
        self.rows = rows.detach().clone()
        self.momentum = momentum
        self.update_by = update_by

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Move the prototypes of the clusters in a batch, after the optimiser step.

        Args:
            features: L2-normalised, shape (B, D).
            labels: Cluster of each feature, shape (B,).
        """
        features = features.detach()
        for label in torch.unique(labels).tolist():
            members = features[labels == label]
            if self.update_by == "hardest":
                target = members[(members @ self.rows[label]).argmin()]
            else:
                target = members.mean(dim=0)
            mixed = self.momentum * self.rows[label] + (1 - self.momentum) * target
            self.rows[label] = F.normalize(mixed, dim=0)
