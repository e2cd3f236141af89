"""Sparse square arrays by rows, as compiled loops want them.

The k-reciprocal Jaccard distance (Zhong et al., CVPR 2017) on sparse rows: no N x N array exists at any time.

The convention is the one that clustering-based re-identification shares: lists hold k1 entries with the image itself
first, half lists round(k1 / 2) + 1. Every row is computed by one thread in a fixed order, so the result does not depend
on the number of threads, and d(i, j) equals d(j, i) to the bit.

N: images, D: feature size, k: length of the neighbour lists.

All pairs of sparse weight rows whose Jaccard distance is small, found through the columns that they share.

Each pair is computed once, by one thread in a fixed order, and written to both of its rows: d(i, j) equals d(j, i) to
the bit, and the result does not depend on the number of threads.

N: rows.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from scipy.sparse import csr_array

from reid_core.errors import UserError


class SparseRows(NamedTuple):
    """Rows of a sparse N x N array; columns of a row rise.

    Attributes:
        indptr: Row i lies in ``indices[indptr[i]:indptr[i + 1]]``, (N + 1,) int64.
        indices: Columns, int32.
        values: Entries, float32.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray


def allocate(counts: np.ndarray) -> SparseRows:
    """Return rows of so many entries each, (N,), that are still to be filled."""
    indptr = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=indptr[1:])
    return SparseRows(indptr, np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=np.float32))


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


_ROWS = 256  # least rows of one parallel task; each task owns scratch arrays of N entries
_TASKS = 256  # most parallel tasks
_ROOM = 48  # near rows kept at the first pass; the few rows that have more are computed a second time
_MOST_PAIRS = 400_000_000  # of the whole graph: 6.4 GB


def near_pairs(weights: SparseRows, *, eps: float) -> SparseRows:
    """Return the Jaccard distances up to ``eps``: with s = sum of min(w_i, w_j), d = 1 - s / (2 - s).

    Args:
        weights: Rows that sum to 1.
        eps: Largest distance kept, in [0, 1).

    Returns:
        Distances, symmetric; every row holds itself at distance 0.

    Raises:
        UserError: When there are too many pairs to hold, as of features that collapsed.
    """
    num_rows = len(weights.indptr) - 1
    columns = csr_array((weights.values, weights.indices, weights.indptr), shape=(num_rows, num_rows)).tocsc()
    by_column = (columns.indptr.astype(np.int64), columns.indices.astype(np.int32), columns.data)

    later_columns, later_values = np.empty((num_rows, _ROOM), np.int32), np.empty((num_rows, _ROOM), np.float32)
    counts = _first_pass(*weights, *by_column, eps, later_columns, later_values)
    if (num_pairs := int(counts.sum())) > _MOST_PAIRS:
        raise UserError(
            f"{num_pairs} pairs of {num_rows} images lie within eps={eps:g}, and at most {_MOST_PAIRS} can be held: "
            "the features have collapsed, or eps is too large; lower the learning rate or eps"
        )
    later = allocate(counts)
    _second_pass(*weights, *by_column, eps, later_columns, later_values, *later)
    del later_columns, later_values

    earlier = csr_array((later.values, later.indices, later.indptr), shape=(num_rows, num_rows)).tocsc()
    before = (earlier.indptr.astype(np.int64), earlier.indices.astype(np.int32), earlier.data)
    graph = allocate(counts + np.diff(before[0]) + 1)
    _join(*before, *later, *graph)
    return graph


@njit(cache=True)
def _tasks(num_rows):  # type: ignore[no-untyped-def]
    """Return the rows of a task and the number of tasks."""
    size = max(_ROWS, (num_rows + _TASKS - 1) // _TASKS)
    return size, (num_rows + size - 1) // size


@njit(cache=True)
def _mixed(task, num_tasks):  # type: ignore[no-untyped-def]
    """Alternate early tasks, whose rows have many later rows, with late ones, so that threads share the work evenly."""
    return task // 2 if task % 2 == 0 else num_tasks - 1 - task // 2


@njit(cache=True)
def _later(i, indptr, indices, values, colptr, rows, entries, eps, shared, near):  # type: ignore[no-untyped-def]
    """Write the rows after i within ``eps`` of it, unsorted, into ``near`` and return their number.

    ``shared`` (N,) is all zero on entry and exit but for the rows in ``near``, which hold the distances.
    """
    num_touched = 0
    for p in range(indptr[i], indptr[i + 1]):
        value = values[p]
        q = colptr[indices[p] + 1] - 1
        while rows[q] > i:  # the column holds i itself
            j = rows[q]
            if shared[j] == 0.0:
                near[num_touched] = j
                num_touched += 1
            shared[j] += min(value, entries[q])
            q -= 1
    num_near = 0
    for t in range(num_touched):
        j = near[t]
        distance = np.float32(max(0.0, 1.0 - shared[j] / (2.0 - shared[j])))
        shared[j] = 0.0
        if distance <= eps:
            shared[j] = distance
            near[num_near] = j
            num_near += 1
    return num_near


@njit(cache=True, parallel=True)
def _first_pass(indptr, indices, values, colptr, rows, entries, eps, kept_columns, kept_values):  # type: ignore[no-untyped-def]
    """Count the near rows after each row, (N,) int64, and keep those of the rows that have room for them."""
    num_rows = len(indptr) - 1
    room = kept_columns.shape[1]
    counts = np.zeros(num_rows, dtype=np.int64)
    size, num_tasks = _tasks(num_rows)
    for task in prange(num_tasks):
        start = _mixed(task, num_tasks) * size
        shared = np.zeros(num_rows, dtype=np.float64)
        near = np.empty(num_rows, dtype=np.int32)
        for i in range(start, min(start + size, num_rows)):
            counts[i] = _later(i, indptr, indices, values, colptr, rows, entries, eps, shared, near)
            if counts[i] <= room:
                kept_columns[i, : counts[i]] = np.sort(near[: counts[i]])
            for t in range(counts[i]):
                if counts[i] <= room:
                    kept_values[i, t] = shared[kept_columns[i, t]]
            for t in range(counts[i]):
                shared[near[t]] = 0.0
    return counts


@njit(cache=True, parallel=True)
def _second_pass(  # type: ignore[no-untyped-def]
    indptr, indices, values, colptr, rows, entries, eps, kept_columns, kept_values, new_indptr, new_indices, new_values
):
    """Put the kept rows where they belong, and compute those that had no room."""
    num_rows = len(indptr) - 1
    room = kept_columns.shape[1]
    size, num_tasks = _tasks(num_rows)
    for task in prange(num_tasks):
        start = _mixed(task, num_tasks) * size
        shared = np.zeros(num_rows, dtype=np.float64)
        near = np.empty(num_rows, dtype=np.int32)
        for i in range(start, min(start + size, num_rows)):
            first, count = new_indptr[i], new_indptr[i + 1] - new_indptr[i]
            if count <= room:
                new_indices[first : first + count] = kept_columns[i, :count]
                new_values[first : first + count] = kept_values[i, :count]
            else:
                _later(i, indptr, indices, values, colptr, rows, entries, eps, shared, near)
                new_indices[first : first + count] = np.sort(near[:count])
                for t in range(count):
                    new_values[first + t] = shared[new_indices[first + t]]
                    shared[new_indices[first + t]] = 0.0


@njit(cache=True, parallel=True)
def _join(  # type: ignore[no-untyped-def]
    before_indptr, before_indices, before_values, after_indptr, after_indices, after_values, indptr, indices, values
):
    """Write each row: the near rows before it, itself at distance 0, the near rows after it."""
    for i in prange(len(indptr) - 1):
        place = indptr[i]
        for p in range(before_indptr[i], before_indptr[i + 1]):
            indices[place] = before_indices[p]
            values[place] = before_values[p]
            place += 1
        indices[place] = i
        values[place] = np.float32(0.0)
        place += 1
        for p in range(after_indptr[i], after_indptr[i + 1]):
            indices[place] = after_indices[p]
            values[place] = after_values[p]
            place += 1
