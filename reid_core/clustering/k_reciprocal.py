"""The k-reciprocal encoding (Zhong et al., CVPR 2017, section 3) and its Jaccard distance, on sparse rows alone.

No N x N array exists at any time. Two conventions share this code:

- *clustering* (``jaccard_graph``), that of Cluster Contrast and its peers: neighbour lists of k1 entries, the image
  itself the first of them; weights exp(-(2 - 2 cos));
- *re-ranking* (``evaluation.rerank``), that of the paper's code: lists of the image itself and k1 others; weights
  exp(-(2 - 2 cos) / w), w the largest distance of the image to any other.

In both, half lists have round(k1 / 2) + 1 entries, the image itself included. Every row is computed by one thread in a
fixed order, so no result depends on the number of threads, and d(i, j) equals d(j, i) to the bit.

N: images, D: feature size, K: length of the neighbour lists, H: of the half lists.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from reid_core.compiled import compiled
from reid_core.errors import UserError
from reid_core.threads import in_threads

_ROWS = 256  # of one task; each owns scratch arrays of N entries
_MOST_PAIRS = 400_000_000  # of the whole graph: 6.4 GB


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

    def columns(self, num_columns: int) -> "SparseRows":
        """Return the same entries by column: the rows of the transpose."""
        by_column = csr_array(
            (self.values, self.indices, self.indptr), shape=(len(self.indptr) - 1, num_columns)
        ).tocsc()
        return SparseRows(by_column.indptr.astype(np.int64), by_column.indices.astype(np.int32), by_column.data)


def jaccard_graph(
    features: np.ndarray, neighbours: np.ndarray, *, k1: int, k2: int, eps: float, num_threads: int = 1
) -> SparseRows:
    """Return all pairs whose Jaccard distance is at most ``eps``, in the convention of clustering.

    Args:
        features: L2-normalised features, (N, D) float32.
        neighbours: Neighbour lists, the image itself first, (N, at least min(k1, N)) int32.
        k1: Length of the reciprocal lists, the image itself included.
        k2: Neighbours whose weights are averaged (local query expansion); 1 turns it off.
        eps: Largest distance kept, in [0, 1): images that share nothing have distance 1.
        num_threads: Threads.

    Returns:
        Distances; every row holds its own image at distance 0.
    """
    assert 0 <= eps < 1, eps
    lists = neighbours[:, : min(k1, len(features))]
    weights = reciprocal_weights(features, lists, k1=k1, k2=k2, num_threads=num_threads)
    return near_pairs(weights, eps=eps, num_threads=num_threads)


def reciprocal_weights(
    features: np.ndarray,
    lists: np.ndarray,
    *,
    k1: int,
    k2: int,
    widths: np.ndarray | None = None,
    num_threads: int = 1,
) -> SparseRows:
    """Encode each image as weights of its reciprocal neighbours (equations 3 to 7 and section 3.5).

    Args:
        features: L2-normalised features, (N, D) float32.
        lists: Neighbour lists, the image itself first, (N, K) int32.
        k1: Decides the length of the half lists.
        k2: First entries of a list whose weights are averaged (local query expansion); 1 turns it off.
        widths: Of the distances of each image, (N,) float32; 1 when None.
        num_threads: Threads.

    Returns:
        Weights; every row sums to 1.
    """
    num_images, length = lists.shape
    features = np.ascontiguousarray(features, dtype=np.float32)
    lists = np.ascontiguousarray(lists, dtype=np.int32)
    widths = np.ones(num_images, dtype=np.float32) if widths is None else widths
    full, half = (_reciprocal(lists[:, :size], num_threads) for size in (length, round(k1 / 2) + 1))
    weights = _collect(_weigh, num_images, num_threads, features, lists, full, half, widths)
    if k2 == 1:
        return weights
    nearest = np.ascontiguousarray(lists[:, :k2])
    return _collect(_expand, num_images, num_threads, nearest, *weights)


def near_pairs(weights: SparseRows, *, eps: float, num_threads: int = 1) -> SparseRows:
    """Return the Jaccard distances up to ``eps``: with s = sum of min(w_i, w_j), d = 1 - s / (2 - s).

    Each pair is computed once, through the columns that its rows share, and written to both of its rows.

    Args:
        weights: Rows that sum to 1.
        eps: Largest distance kept, in [0, 1).
        num_threads: Threads.

    Returns:
        Distances, symmetric; every row holds itself at distance 0.

    Raises:
        UserError: When there are too many pairs to hold, as of features that collapsed.
    """
    num_rows = len(weights.indptr) - 1
    columns = weights.columns(num_rows)
    num_pairs = 0

    def work(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        nonlocal num_pairs
        task: tuple[np.ndarray, np.ndarray, np.ndarray] = _pair(start, stop, *weights, *columns, eps)
        num_pairs += len(task[1])
        if num_pairs > _MOST_PAIRS:
            raise UserError(
                f"more than {_MOST_PAIRS} pairs of {num_rows} images lie within eps={eps:g}, more than can be held: "
                "the features have collapsed, or eps is too large; lower the learning rate or eps"
            )
        return task

    later = _collect(work, num_rows, num_threads)
    earlier = later.columns(num_rows)
    graph = _allocate(np.diff(later.indptr) + np.diff(earlier.indptr) + 1)
    in_threads(_join, num_rows, num_threads, *earlier, *later, *graph)
    return graph


def _reciprocal(lists: np.ndarray, num_threads: int) -> np.ndarray:
    """Mark the entries of lists (N, K) that hold the image in their own list, as long; (N, K) bool."""
    marks = np.zeros(lists.shape, dtype=np.bool_)
    in_threads(_mark, len(lists), num_threads, lists, marks)
    return marks


def _allocate(counts: np.ndarray) -> SparseRows:
    """Return rows of so many entries each, (N,), that are still to be filled."""
    indptr = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=indptr[1:])
    return SparseRows(indptr, np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=np.float32))


def _collect(
    work: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_rows: int,
    num_threads: int,
    *arguments: object,
) -> SparseRows:
    """Compute rows task by task; ``work`` returns the number of entries of each of its rows, columns and values."""
    tasks = in_threads(work, num_rows, num_threads, *arguments, num_tasks=-(-num_rows // _ROWS))
    counts, indices, values = (np.concatenate(arrays) for arrays in zip(*tasks, strict=True))
    return SparseRows(np.concatenate([[0], np.cumsum(counts)]), indices, values)


@compiled()
def _mark(start, stop, lists, marks):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        for a in range(lists.shape[1]):
            j = lists[i, a]
            for b in range(lists.shape[1]):
                if lists[j, b] == i:
                    marks[i, a] = True
                    break


@compiled()
def _grow(i, lists, full, half, in_own, in_grown, members):  # type: ignore[no-untyped-def]
    """Write R*(i), sorted, into ``members`` and return its size; the two stamp arrays (N,) hold i where set."""
    size = 0
    for a in range(full.shape[1]):  # R(i): the reciprocal entries of i's list
        if full[i, a]:
            j = lists[i, a]
            in_own[j] = i
            in_grown[j] = i
            members[size] = j
            size += 1
    for a in range(size):  # the half list R'(j) of each of them joins if more than 2/3 of it lies in R(i)
        j = members[a]
        num_half = 0
        num_shared = 0
        for b in range(half.shape[1]):
            if half[j, b]:
                num_half += 1
                if in_own[lists[j, b]] == i:
                    num_shared += 1
        if 3 * num_shared > 2 * num_half:
            for b in range(half.shape[1]):
                c = lists[j, b]
                if half[j, b] and in_grown[c] != i:
                    in_grown[c] = i
                    members[size] = c
                    size += 1
    members[:size] = np.sort(members[:size])
    return size


@compiled(fastmath={"reassoc", "contract"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for d in range(a.shape[0]):
        total += a[d] * b[d]
    return total


@compiled()
def _with_room(array, end, wanted):  # type: ignore[no-untyped-def]
    """Return an array whose first ``end`` entries are those of ``array``, with room for ``wanted``."""
    if wanted <= len(array):
        return array
    larger = np.empty(max(2 * len(array), wanted), dtype=array.dtype)
    larger[:end] = array[:end]
    return larger


@compiled()
def _weigh(start, stop, features, lists, full, half, widths):  # type: ignore[no-untyped-def]
    """Weights exp(-(2 - 2 cos) / width) of the grown sets of rows, normalised to sum 1."""
    num_images = lists.shape[0]
    in_own = np.full(num_images, -1, dtype=np.int32)
    in_grown = np.full(num_images, -1, dtype=np.int32)
    members = np.empty(full.shape[1] * (half.shape[1] + 1), dtype=np.int32)
    weights = np.empty(len(members), dtype=np.float64)
    counts = np.zeros(stop - start, dtype=np.int64)
    indices = np.empty((stop - start) * full.shape[1], dtype=np.int32)
    values = np.empty(len(indices), dtype=np.float32)
    end = 0
    for i in range(start, stop):
        size = _grow(i, lists, full, half, in_own, in_grown, members)
        total = 0.0
        for a in range(size):
            weights[a] = np.exp((2.0 * _dot(features[i], features[members[a]]) - 2.0) / widths[i])
            total += weights[a]
        indices, values = _with_room(indices, end, end + size), _with_room(values, end, end + size)
        for a in range(size):
            indices[end + a] = members[a]
            values[end + a] = weights[a] / total
        counts[i - start] = size
        end += size
    return counts, indices[:end].copy(), values[:end].copy()


@compiled()
def _expand(start, stop, nearest, indptr, indices, values):  # type: ignore[no-untyped-def]
    """Mean of the weight rows of each image's nearest images."""
    num_images = nearest.shape[0]
    reached = np.full(num_images, -1, dtype=np.int32)  # the image that last reached a column
    total = np.zeros(num_images, dtype=np.float64)
    counts = np.zeros(stop - start, dtype=np.int64)
    new_indices = np.empty(indptr[stop] - indptr[start], dtype=np.int32)
    new_values = np.empty(len(new_indices), dtype=np.float32)
    end = 0
    for i in range(start, stop):
        most = 0
        for a in range(nearest.shape[1]):
            most += indptr[nearest[i, a] + 1] - indptr[nearest[i, a]]
        new_indices, new_values = _with_room(new_indices, end, end + most), _with_room(new_values, end, end + most)
        first = end
        for a in range(nearest.shape[1]):
            j = nearest[i, a]
            for p in range(indptr[j], indptr[j + 1]):
                column = indices[p]
                if reached[column] != i:
                    reached[column] = i
                    total[column] = 0.0
                    new_indices[end] = column
                    end += 1
                total[column] += values[p]
        new_indices[first:end] = np.sort(new_indices[first:end])
        for p in range(first, end):
            new_values[p] = total[new_indices[p]] / nearest.shape[1]
        counts[i - start] = end - first
    return counts, new_indices[:end].copy(), new_values[:end].copy()


@compiled()
def _pair(start, stop, indptr, indices, values, colptr, rows, entries, eps):  # type: ignore[no-untyped-def]
    """Jaccard distances of each row i to the rows after it that lie within ``eps``."""
    num_rows = len(indptr) - 1
    shared = np.zeros(num_rows, dtype=np.float64)  # sum of minima of row i and every later row
    near = np.empty(num_rows, dtype=np.int32)  # those rows, unsorted
    counts = np.zeros(stop - start, dtype=np.int64)
    new_indices = np.empty((stop - start) * 16, dtype=np.int32)
    new_values = np.empty(len(new_indices), dtype=np.float32)
    end = 0
    for i in range(start, stop):
        size = 0
        for p in range(indptr[i], indptr[i + 1]):
            q = colptr[indices[p] + 1] - 1
            while rows[q] > i:  # the column holds i itself
                j = rows[q]
                if shared[j] == 0.0:
                    near[size] = j
                    size += 1
                shared[j] += min(values[p], entries[q])
                q -= 1
        num_near = 0
        for t in range(size):
            j = near[t]
            distance = np.float32(max(0.0, 1.0 - shared[j] / (2.0 - shared[j])))
            shared[j] = 0.0
            if distance <= eps:
                shared[j] = distance
                near[num_near] = j
                num_near += 1
        room = end + num_near
        new_indices, new_values = _with_room(new_indices, end, room), _with_room(new_values, end, room)
        new_indices[end:room] = np.sort(near[:num_near])
        for p in range(end, room):
            new_values[p] = shared[new_indices[p]]
            shared[new_indices[p]] = 0.0
        end = room
        counts[i - start] = num_near
    return counts, new_indices[:end].copy(), new_values[:end].copy()


@compiled()
def _join(  # type: ignore[no-untyped-def]
    start, stop, indptr, indices, values, later_indptr, later_indices, later_values, new_indptr, new_indices, new_values
):
    """Write each row: the near rows before it, itself at distance 0, the near rows after it."""
    for i in range(start, stop):
        place = new_indptr[i]
        for p in range(indptr[i], indptr[i + 1]):
            new_indices[place] = indices[p]
            new_values[place] = values[p]
            place += 1
        new_indices[place] = i
        new_values[place] = np.float32(0.0)
        place += 1
        for p in range(later_indptr[i], later_indptr[i + 1]):
            new_indices[place] = later_indices[p]
            new_values[place] = later_values[p]
            place += 1
