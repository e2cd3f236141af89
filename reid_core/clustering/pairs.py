"""All pairs of sparse weight rows whose Jaccard distance is small, found through the columns that they share.

Each pair is computed once, by one thread in a fixed order, and written to both of its rows: d(i, j) equals d(j, i) to
the bit, and the result does not depend on the number of threads.

N: rows.
"""

import numpy as np
from numba import njit, prange
from scipy.sparse import csr_array

from reid_core.clustering.sparse import SparseRows, allocate
from reid_core.errors import UserError

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
