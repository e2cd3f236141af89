"""Lists of nearest neighbours by cosine similarity, whoever searches: FAISS, torch, or inverted lists.

N: images, D: feature size, Q: queries of a block.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_SPARE = 8  # neighbours searched beyond k, so that ties at the end of a list are seen
_WIDER = 8  # times as many are searched for the lists that end in a longer tie
_MOST_SEARCHED = 2048  # a tie beyond this is looked up in whole rows of similarities
_ROW_BYTES = 1 << 26  # of these

# From queries (Q, D) and k to similarities (Q, k), falling, and indices (Q, k), -1 where there is none.
Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class Neighbours(NamedTuple):
    """Neighbour lists of a block of images.

    Attributes:
        indices: Nearest images, the image itself first, then by falling similarity, ties by rising index; (Q, k) int32.
        similarities: Inner products in the same order, (Q, k) float32.
    """

    indices: np.ndarray
    similarities: np.ndarray


def exact_neighbours(features: np.ndarray, start: int, stop: int, k: int, search: Search) -> Neighbours:
    """Return the neighbour lists of the images ``start`` to ``stop`` (exclusive) among all images.

    Args:
        features: L2-normalised features, (N, D) float32.
        start: First query image.
        stop: One past the last query image.
        k: Length of a list, the image itself included; shortened to N.
        search: Exact search among ``features``, in any order of ties.

    Returns:
        Lists of ``stop - start`` images.
    """
    assert 0 <= start < stop <= len(features), (start, stop, len(features))
    return exact_lists(features, np.arange(start, stop, dtype=np.int64), k, search)


def exact_lists(features: np.ndarray, rows: np.ndarray, k: int, search: Search) -> Neighbours:
    """Return the neighbour lists of any images, (Q,) int64; see ``exact_neighbours``."""
    num_images = len(features)
    k = min(k, num_images)
    indices = np.empty((len(rows), k), dtype=np.int32)
    similarities = np.empty((len(rows), k), dtype=np.float32)
    todo, searched = np.arange(len(rows)), min(k + _SPARE, num_images)
    while len(todo):
        found = search(_queries(features, rows[todo]), searched)
        lists = _ordered(rows[todo], *found)
        # The list is settled when something beyond its end is strictly farther than its end.
        settled = np.full(len(todo), searched == num_images)
        settled |= found[0].min(axis=1) < lists.similarities[:, 1:k].min(axis=1, initial=np.inf)
        indices[todo[settled]] = lists.indices[settled, :k]
        similarities[todo[settled]] = lists.similarities[settled, :k]
        todo = todo[~settled]
        searched = min(_WIDER * searched, num_images)
        if searched > _MOST_SEARCHED:
            break
    # Many copies of one image, as an encoder that collapsed makes them: whole rows, a few at a time.
    step = max(1, _ROW_BYTES // (4 * num_images))
    for first in range(0, len(todo), step):
        part = todo[first : first + step]
        for place, whole in zip(part, features[rows[part]] @ features.T, strict=True):
            indices[place], similarities[place] = _largest(int(rows[place]), whole, k)
    return Neighbours(indices, similarities)


def approximate_neighbours(
    features: np.ndarray, start: int, stop: int, k: int, search: Search, exact: Search
) -> Neighbours:
    """Return neighbour lists that may miss some neighbours; see ``exact_neighbours``.

    Args:
        features: L2-normalised features, (N, D) float32.
        start: First query image.
        stop: One past the last query image.
        k: Length of a list, the image itself included; shortened to N.
        search: Approximate search among ``features``.
        exact: Exact search, for the images of which ``search`` finds fewer than k neighbours.

    Returns:
        Lists of ``stop - start`` images.
    """
    assert 0 <= start < stop <= len(features), (start, stop, len(features))
    k = min(k, len(features))
    rows = np.arange(start, stop, dtype=np.int64)
    values, found = search(_queries(features, rows), k)
    short = (found < 0).any(axis=1)
    lists = _ordered(rows, values, found)
    if short.any():
        whole = exact_lists(features, rows[short], k, exact)
        lists.indices[short], lists.similarities[short] = whole
    return Neighbours(lists.indices.astype(np.int32), lists.similarities)


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the share of the expected neighbours, (Q, k), that lists (Q, k) hold; the image itself is not counted."""
    if expected.shape[1] < 2:
        return 1.0
    hits = (expected[:, 1:, None] == found[:, None, :]).any(axis=2)
    return float(hits.mean())


def _queries(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rows of the features, without a copy where they follow one another."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return features[int(rows[0]) : int(rows[-1]) + 1]
    return np.take(features, rows, axis=0)


def _largest(row: int, similarity: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the list of one image from its similarity to all images, (N,)."""
    similarity[row] = np.inf
    last = np.partition(similarity, len(similarity) - k)[len(similarity) - k]
    above = np.flatnonzero(similarity > last)
    chosen = np.concatenate([above, np.flatnonzero(similarity == last)[: k - len(above)]])
    chosen = chosen[np.lexsort((chosen, -similarity[chosen]))]
    values = similarity[chosen]
    values[0] = 1.0  # its own
    return chosen, values


def _ordered(rows: np.ndarray, similarities: np.ndarray, indices: np.ndarray) -> Neighbours:
    """Put each query first in its own list and order the rest by (similarity, index)."""
    itself = indices == rows[:, None]
    # Among many duplicates a search may leave the query out: it takes the place of the last entry.
    missing = ~itself.any(axis=1)
    indices[missing, -1] = rows[missing]
    similarities[missing, -1] = similarities.max(axis=1)[missing]
    itself[missing, -1] = True
    order = np.lexsort((indices, -similarities, ~itself), axis=1)
    return Neighbours(np.take_along_axis(indices, order, 1), np.take_along_axis(similarities, order, 1))
