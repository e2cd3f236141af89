"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017, section 3), sparse and in blocks of queries.

Queries and gallery together are N = Q + G images. What two images have in common is a sum over the few neighbours that
both have, so no N x N array exists at any time. In the convention of the published code, which everybody compares with:
lists hold the image itself and k1 others, half lists round(k1 / 2) others; distances are 2 - 2 cos divided by the
largest of the row, weights are exp(-distance).

Q: queries, G: gallery images, D: feature size, B: queries of a block, K: length of the neighbour lists.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from scipy.sparse import csr_array, vstack
from torch import Tensor

from reid_core.evaluation.ranking import cosine_blocks
from reid_core.evaluation.ranking_kernel import in_threads

_ROWS = 4096  # rows of one sparse product, which bounds its memory


class Nearest(NamedTuple):
    """What one pass over all similarities leaves.

    Attributes:
        lists: Each image, then its nearest others, ties by rising index, (N, K) int32.
        width: Largest distance 2 - 2 cos of each image to any other, (N,) float32.
    """

    lists: np.ndarray
    width: np.ndarray


def reranked_blocks(query: Tensor, gallery: Tensor, *, k1: int, k2: int, weight: float) -> Iterator[np.ndarray]:
    """Yield negative re-ranked distances, for ``ranking.measure``.

    Args:
        query: L2-normalised features, (Q, D).
        gallery: L2-normalised features, (G, D).
        k1: Neighbours of a reciprocal list, the image itself not counted; 20 in the paper.
        k2: Entries of a list, itself first, whose weights are averaged (local query expansion); 6 in the paper.
        weight: Lambda of equation 12: share of the original distance, in [0, 1]; 0.3 in the paper.

    Yields:
        -(weight x original + (1 - weight) x Jaccard distance) of block after block, (B, G) float32.
    """
    assert k1 >= 1, k1
    assert k2 >= 1, k2
    assert 0 <= weight <= 1, weight
    features = torch.cat([query, gallery])
    nearest = nearest_images(features, k1 + 1)
    vectors = _expanded(_encode(features.numpy(), nearest, k1), nearest.lists[:, :k2])
    own = _arrays(vectors[: len(query)])
    columns = _arrays(vectors[len(query) :].tocsc())
    start = 0
    for block in cosine_blocks(query, gallery):
        widths = nearest.width[start : start + len(block)]
        _blend_in_threads(block, widths, own, columns, start, weight)
        start += len(block)
        yield block


def nearest_images(features: Tensor, length: int) -> Nearest:
    """Find the nearest images of each image among all.

    Args:
        features: L2-normalised, (N, D).
        length: K, the image itself included; shortened to N.

    Returns:
        Neighbour lists, and each image's largest distance.
    """
    num_images = len(features)
    lists = np.empty((num_images, min(length, num_images)), dtype=np.int32)
    width = np.empty(num_images, dtype=np.float32)
    start = 0
    for block in cosine_blocks(features, features):
        _nearest_in_threads(block, start, lists[start : start + len(block)], width[start : start + len(block)])
        start += len(block)
    return Nearest(lists, width)


def _nearest_in_threads(block: np.ndarray, first: int, lists: np.ndarray, width: np.ndarray) -> None:
    def work(start: int, stop: int) -> None:
        _nearest_rows(block[start:stop], first + start, lists[start:stop], width[start:stop])

    in_threads(work, len(block), torch.get_num_threads())


def _encode(features: np.ndarray, nearest: Nearest, k1: int) -> csr_array:
    """Return each image as weights of its reciprocal neighbours that sum to 1 (equations 4 to 7), (N, N) sparse."""
    full = _reciprocal(nearest.lists)
    half = _reciprocal(nearest.lists[:, : round(k1 / 2) + 1])
    half_sizes = np.diff(half.indptr)
    blocks = []
    for start in range(0, len(features), _ROWS):
        own = full[start : start + _ROWS]
        shared = own.multiply(own @ half.T).tocsr()  # at (i, j) of R: images in both R(i) and the half list R'(j)
        shared.data = (3 * shared.data > 2 * half_sizes[shared.indices]).astype(np.int32)
        shared.eliminate_zeros()
        blocks.append(own + shared @ half)
    grown = csr_array(vstack(blocks, format="csr"))
    grown.sort_indices()
    weights = np.empty(grown.nnz, dtype=np.float32)

    def work(start: int, stop: int) -> None:
        own = (nearest.width[start:stop], features[start:stop])
        _fill_weights(grown.indptr[start : stop + 1], own, features, grown.indices, weights)

    in_threads(work, len(features), torch.get_num_threads())
    return csr_array((weights, grown.indices, grown.indptr), shape=grown.shape)


def _reciprocal(lists: np.ndarray) -> csr_array:
    """Return ones where each of two images is in the other's list, (N, N) sparse."""
    forward = _indicator(lists)
    return csr_array(forward.multiply(forward.T))


def _expanded(vectors: csr_array, lists: np.ndarray) -> csr_array:
    """Return the mean of the vectors of each image's list (section 3.5)."""
    found = csr_array(_indicator(lists).astype(np.float32) @ vectors)
    found.data /= np.float32(lists.shape[1])
    return found


def _indicator(lists: np.ndarray) -> csr_array:
    num_images, length = lists.shape
    starts = np.arange(num_images + 1, dtype=np.int64) * length
    return csr_array((np.ones(lists.size, dtype=np.int32), lists.ravel(), starts), shape=(num_images, num_images))


def _arrays(matrix: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data.astype(np.float32)


def _blend_in_threads(
    block: np.ndarray,
    width: np.ndarray,
    own: tuple[np.ndarray, ...],
    columns: tuple[np.ndarray, ...],
    first: int,
    weight: float,
) -> None:
    def work(start: int, stop: int) -> None:
        _blend(block[start:stop], width[start:stop], own, columns, first + start, np.float32(weight))

    in_threads(work, len(block), torch.get_num_threads())


@njit(cache=True, nogil=True)
def _nearest_rows(similarity, first, lists, width):  # type: ignore[no-untyped-def]
    """Fill neighbour lists and largest distances of the images ``first`` and following."""
    length = lists.shape[1]
    best = np.empty(length, dtype=np.float32)
    for row in range(similarity.shape[0]):
        image = first + row
        lists[row, 0] = image
        size = 1
        farthest = np.float32(np.inf)
        for j in range(similarity.shape[1]):
            value = similarity[row, j]
            farthest = min(farthest, value)
            if j == image or (size == length and (length == 1 or value <= best[length - 1])):
                continue
            if size < length:
                size += 1
            place = size - 1
            while place > 1 and best[place - 1] < value:
                best[place] = best[place - 1]
                lists[row, place] = lists[row, place - 1]
                place -= 1
            best[place] = value
            lists[row, place] = j
        width[row] = max(np.float32(2) - np.float32(2) * farthest, np.float32(1e-12))


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for d in range(a.shape[0]):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True)
def _fill_weights(indptr, own, features, indices, weights):  # type: ignore[no-untyped-def]
    """Fill ``weights`` beside ``indices`` for the rows of ``indptr``, whose widths and features are ``own``."""
    width, rows = own
    for i in range(len(rows)):
        total = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            distance = np.float32(2) - np.float32(2) * _dot(rows[i], features[indices[p]])
            weights[p] = np.exp(-distance / width[i])
            total += weights[p]
        for p in range(indptr[i], indptr[i + 1]):
            weights[p] /= total


@njit(cache=True, nogil=True)
def _blend(block, width, own, columns, first, weight):  # type: ignore[no-untyped-def]
    """Turn cosine similarities into negative re-ranked distances, in place."""
    indptr, indices, values = own
    colptr, rows, entries = columns
    num_gallery = block.shape[1]
    shared = np.zeros(num_gallery, dtype=np.float32)
    touched = np.empty(num_gallery, dtype=np.int32)
    one, two = np.float32(1), np.float32(2)
    for row in range(block.shape[0]):
        for j in range(num_gallery):
            block[row, j] = -(weight * (two - two * block[row, j]) / width[row] + (one - weight))
        size = 0
        for p in range(indptr[first + row], indptr[first + row + 1]):
            column = indices[p]
            for q in range(colptr[column], colptr[column + 1]):
                j = rows[q]
                if shared[j] == 0:
                    touched[size] = j
                    size += 1
                shared[j] += min(values[p], entries[q])
        for t in range(size):
            j = touched[t]
            block[row, j] += (one - weight) * shared[j] / (two - shared[j])
            shared[j] = 0
