"""Exact nearest neighbours by cosine similarity; the only module that imports FAISS.

FAISS and torch bring OpenMP runtimes of their own and hang or crash in one process, so this module is imported by
``ClusterWorker`` alone, inside the processes of its pool.

N: images, D: feature size, Q: queries of a block.
"""

from typing import NamedTuple

import faiss
import numpy as np

_SPARE = 8  # neighbours searched beyond k, so that ties at the end of a list are seen


class Neighbours(NamedTuple):
    """Neighbour lists of a block of images.

    Attributes:
        indices: Nearest images, the image itself first, then by falling similarity, ties by rising index; (Q, k) int32.
        similarities: Inner products in the same order, (Q, k) float32.
    """

    indices: np.ndarray
    similarities: np.ndarray


def set_num_threads(num_threads: int) -> None:
    """Bound the threads of FAISS in this process."""
    faiss.omp_set_num_threads(num_threads)


def exact_neighbours(features: np.ndarray, start: int, stop: int, k: int) -> Neighbours:
    """Return the neighbour lists of the images ``start`` to ``stop`` (exclusive) among all images.

    Args:
        features: L2-normalised features, (N, D) float32.
        start: First query image.
        stop: One past the last query image.
        k: Length of a list, the image itself included; shortened to N.

    Returns:
        Lists of ``stop - start`` images.
    """
    num_images = len(features)
    assert 0 <= start < stop <= num_images, (start, stop, num_images)
    k = min(k, num_images)
    rows = np.arange(start, stop, dtype=np.int64)
    indices = np.empty((len(rows), k), dtype=np.int32)
    similarities = np.empty((len(rows), k), dtype=np.float32)
    searched = min(k + _SPARE, num_images)
    while len(rows):
        found = faiss.knn(features[rows], features, searched, metric=faiss.METRIC_INNER_PRODUCT)
        lists = _ordered(rows, *found)
        # The list is settled when something beyond its end is strictly farther than its end.
        settled = np.full(len(rows), searched == num_images)
        settled |= found[0].min(axis=1) < lists.similarities[:, 1:k].min(axis=1, initial=np.inf)
        indices[rows[settled] - start] = lists.indices[settled, :k]
        similarities[rows[settled] - start] = lists.similarities[settled, :k]
        rows = rows[~settled]
        searched = min(2 * searched, num_images)
    return Neighbours(indices, similarities)


def _ordered(rows: np.ndarray, similarities: np.ndarray, indices: np.ndarray) -> Neighbours:
    """Put each query first in its own list and order the rest by (similarity, index)."""
    itself = indices == rows[:, None]
    # Among many duplicates FAISS may leave the query out: it takes the place of the last entry.
    missing = ~itself.any(axis=1)
    indices[missing, -1] = rows[missing]
    similarities[missing, -1] = similarities.max(axis=1)[missing]
    itself[missing, -1] = True
    order = np.lexsort((indices, -similarities, ~itself), axis=1)
    return Neighbours(np.take_along_axis(indices, order, 1), np.take_along_axis(similarities, order, 1))
