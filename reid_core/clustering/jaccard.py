"""The k-reciprocal Jaccard distance (Zhong et al., CVPR 2017) on sparse rows: no N x N array exists at any time.

The convention is the one that clustering-based re-identification shares: lists hold k1 entries with the image itself
first, half lists round(k1 / 2) + 1. Every row is computed by one thread in a fixed order, so the result does not depend
on the number of threads, and d(i, j) equals d(j, i) to the bit.

N: images, D: feature size, k: length of the neighbour lists.
"""

import numpy as np
from numba import njit, prange

from reid_core.clustering.pairs import near_pairs
from reid_core.clustering.sparse import SparseRows, allocate

_CHUNK = 256  # rows of one parallel task; each task owns scratch arrays of N entries


def jaccard_graph(features: np.ndarray, neighbours: np.ndarray, *, k1: int, k2: int, eps: float) -> SparseRows:
    """Return all pairs whose Jaccard distance is at most ``eps``.

    Args:
        features: L2-normalised features, (N, D) float32.
        neighbours: Neighbour lists, the image itself first, (N, at least min(k1, N)) int32.
        k1: Length of the reciprocal lists.
        k2: Neighbours whose weights are averaged (local query expansion); 1 turns it off.
        eps: Largest distance kept, in [0, 1): images that share nothing have distance 1.

    Returns:
        Distances; every row holds its own image at distance 0.
    """
    assert 0 <= eps < 1, eps
    num_images = len(features)
    full_length = min(k1, num_images)
    half_length = min(round(k1 / 2) + 1, full_length)
    neighbours = np.ascontiguousarray(neighbours[:, :full_length], dtype=np.int32)
    full = _reciprocal(neighbours, full_length)
    half = _reciprocal(neighbours, half_length)

    weights = allocate(_grown_counts(neighbours, full, half))
    _fill_weights(np.ascontiguousarray(features, dtype=np.float32), neighbours, full, half, *weights)
    if k2 > 1:
        nearest = np.ascontiguousarray(neighbours[:, : min(k2, full_length)])
        expanded = allocate(_expanded_counts(nearest, weights.indptr, weights.indices))
        _fill_expanded(nearest, *weights, *expanded)
        weights = expanded

    return near_pairs(weights, eps=eps)


@njit(cache=True, parallel=True)
def _reciprocal(neighbours, length):  # type: ignore[no-untyped-def]
    """Mark the entries j of each list (cut to ``length``) whose own list, as long, holds i; (N, length) bool."""
    marks = np.zeros((neighbours.shape[0], length), dtype=np.bool_)
    for i in prange(neighbours.shape[0]):
        for a in range(length):
            j = neighbours[i, a]
            for b in range(length):
                if neighbours[j, b] == i:
                    marks[i, a] = True
                    break
    return marks


@njit(cache=True)
def _grow(i, neighbours, full, half, in_own, in_grown, members):  # type: ignore[no-untyped-def]
    """Write R*(i), sorted, into ``members`` and return its size; the two stamp arrays (N,) hold i where set."""
    size = 0
    for a in range(full.shape[1]):
        if full[i, a]:
            j = neighbours[i, a]
            in_own[j] = i
            in_grown[j] = i
            members[size] = j
            size += 1
    for a in range(size):
        j = members[a]
        num_half = 0
        num_shared = 0
        for b in range(half.shape[1]):
            if half[j, b]:
                num_half += 1
                if in_own[neighbours[j, b]] == i:
                    num_shared += 1
        if 3 * num_shared > 2 * num_half:
            for b in range(half.shape[1]):
                c = neighbours[j, b]
                if half[j, b] and in_grown[c] != i:
                    in_grown[c] = i
                    members[size] = c
                    size += 1
    members[:size] = np.sort(members[:size])
    return size


@njit(cache=True, parallel=True)
def _grown_counts(neighbours, full, half):  # type: ignore[no-untyped-def]
    num_images = neighbours.shape[0]
    counts = np.zeros(num_images, dtype=np.int64)
    for chunk in prange((num_images + _CHUNK - 1) // _CHUNK):
        in_own = np.full(num_images, -1, dtype=np.int32)
        in_grown = np.full(num_images, -1, dtype=np.int32)
        members = np.empty(full.shape[1] * (half.shape[1] + 1), dtype=np.int32)
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, num_images)):
            counts[i] = _grow(i, neighbours, full, half, in_own, in_grown, members)
    return counts


@njit(cache=True, fastmath={"reassoc", "contract"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for d in range(a.shape[0]):
        total += a[d] * b[d]
    return total


@njit(cache=True, parallel=True)
def _fill_weights(features, neighbours, full, half, indptr, indices, values):  # type: ignore[no-untyped-def]
    """Weights exp(-(2 - 2 cos)) of every grown set, normalised to sum 1."""
    num_images = neighbours.shape[0]
    for chunk in prange((num_images + _CHUNK - 1) // _CHUNK):
        in_own = np.full(num_images, -1, dtype=np.int32)
        in_grown = np.full(num_images, -1, dtype=np.int32)
        members = np.empty(full.shape[1] * (half.shape[1] + 1), dtype=np.int32)
        weights = np.empty(len(members), dtype=np.float64)
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, num_images)):
            size = _grow(i, neighbours, full, half, in_own, in_grown, members)
            total = 0.0
            for a in range(size):
                weights[a] = np.exp(2.0 * _dot(features[i], features[members[a]]) - 2.0)
                total += weights[a]
            for a in range(size):
                indices[indptr[i] + a] = members[a]
                values[indptr[i] + a] = weights[a] / total


@njit(cache=True, parallel=True)
def _expanded_counts(nearest, indptr, indices):  # type: ignore[no-untyped-def]
    num_images = nearest.shape[0]
    counts = np.zeros(num_images, dtype=np.int64)
    for chunk in prange((num_images + _CHUNK - 1) // _CHUNK):
        seen = np.full(num_images, -1, dtype=np.int32)
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, num_images)):
            for a in range(nearest.shape[1]):
                j = nearest[i, a]
                for p in range(indptr[j], indptr[j + 1]):
                    if seen[indices[p]] != i:
                        seen[indices[p]] = i
                        counts[i] += 1
    return counts


@njit(cache=True, parallel=True)
def _fill_expanded(nearest, indptr, indices, values, new_indptr, new_indices, new_values):  # type: ignore[no-untyped-def]
    """Mean of the weight rows of each image's nearest images."""
    num_images = nearest.shape[0]
    for chunk in prange((num_images + _CHUNK - 1) // _CHUNK):
        seen = np.full(num_images, -1, dtype=np.int32)
        total = np.zeros(num_images, dtype=np.float64)
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, num_images)):
            end = new_indptr[i]
            for a in range(nearest.shape[1]):
                j = nearest[i, a]
                for p in range(indptr[j], indptr[j + 1]):
                    column = indices[p]
                    if seen[column] != i:
                        seen[column] = i
                        total[column] = 0.0
                        new_indices[end] = column
                        end += 1
                    total[column] += values[p]
            new_indices[new_indptr[i] : end] = np.sort(new_indices[new_indptr[i] : end])
            for p in range(new_indptr[i], end):
                new_values[p] = total[new_indices[p]] / nearest.shape[1]
