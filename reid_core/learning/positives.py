"""Which memory rows a query should match and which it should not, by pseudo labels.

Letters: B queries, N memory rows.
"""

import torch
from torch import Tensor


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
