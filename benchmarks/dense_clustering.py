"""Pseudo labels the dense way, written plainly: N x N arrays and a Python loop over images, as it is commonly done.

Own words, for comparison only; the distances and labels are those of ``reid_core.clustering``.
"""

import numpy as np
from sklearn.cluster import DBSCAN


def dense_labels(
    features: np.ndarray, neighbours: np.ndarray, *, k1: int, k2: int, eps: float, min_samples: int
) -> np.ndarray:
    """Return pseudo labels (N,) of features (N, D) with neighbour lists (N, k1)."""
    distance = dense_jaccard(features, neighbours, k1=k1, k2=k2)
    search = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed", n_jobs=-1)
    labels: np.ndarray = search.fit_predict(distance)
    return labels


def dense_jaccard(features: np.ndarray, neighbours: np.ndarray, *, k1: int, k2: int) -> np.ndarray:
    """Return the k-reciprocal Jaccard distances (N, N) float32."""
    num_images = len(features)
    full = [_reciprocal(neighbours, i, k1) for i in range(num_images)]
    half = [_reciprocal(neighbours, i, round(k1 / 2) + 1) for i in range(num_images)]

    weights = np.zeros((num_images, num_images), dtype=np.float32)
    for i in range(num_images):
        grown = full[i]
        for j in full[i]:
            if len(np.intersect1d(half[j], full[i])) > 2 / 3 * len(half[j]):
                grown = np.append(grown, half[j])
        grown = np.unique(grown)
        near = np.exp(2 * features[grown] @ features[i] - 2)
        weights[i, grown] = near / near.sum()
    if k2 > 1:
        expanded = np.zeros_like(weights)
        for i in range(num_images):
            expanded[i] = weights[neighbours[i, :k2]].mean(axis=0)
        weights = expanded

    holders = [np.flatnonzero(weights[:, i]) for i in range(num_images)]
    distance = np.zeros((num_images, num_images), dtype=np.float32)
    for i in range(num_images):
        shared = np.zeros(num_images, dtype=np.float32)
        for column in np.flatnonzero(weights[i]):
            rows = holders[column]
            shared[rows] += np.minimum(weights[i, column], weights[rows, column])
        distance[i] = 1 - shared / (2 - shared)
    np.maximum(distance, 0, out=distance)
    return distance


def _reciprocal(neighbours: np.ndarray, i: int, length: int) -> np.ndarray:
    candidates = neighbours[i, :length]
    backward = neighbours[candidates, :length]
    mutual: np.ndarray = candidates[(backward == i).any(axis=1)]
    return mutual
