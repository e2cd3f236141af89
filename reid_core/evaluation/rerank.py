"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017, section 3), in blocks of queries.

Queries and gallery together are N = Q + G images, encoded in the convention of re-ranking that
``clustering.k_reciprocal`` describes. What two images have in common is a sum over the few neighbours that both have.

Q: queries, G: gallery images, D: feature size, B: queries of a block, K: length of the neighbour lists.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_core.clustering.k_reciprocal import SparseRows, reciprocal_weights
from reid_core.compiled import compiled
from reid_core.evaluation.ranking import cosine_blocks
from reid_core.threads import in_threads


class Nearest(NamedTuple):
    """Neighbours of every image among all.

    Attributes:
        lists: Each image, then its nearest others, ties by rising index, (N, K) int32.
        widths: Largest distance 2 - 2 cos of each image to any other, (N,) float32.
    """

    lists: np.ndarray
    widths: np.ndarray


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
    num_threads = torch.get_num_threads()
    nearest = nearest_images(features, k1 + 1)
    weights = reciprocal_weights(
        features.numpy(), nearest.lists, k1=k1, k2=k2, widths=nearest.widths, num_threads=num_threads
    )
    border = weights.indptr[len(query)]
    of_gallery = SparseRows(weights.indptr[len(query) :] - border, weights.indices[border:], weights.values[border:])
    columns = of_gallery.columns(len(features))  # entry (image, gallery image)
    first = 0
    for block in cosine_blocks(query, gallery):
        terms = (nearest.widths, np.float32(weight), *weights, *columns)
        in_threads(_blend, len(block), num_threads, block, first, *terms)
        first += len(block)
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
    widths = np.empty(num_images, dtype=np.float32)
    first = 0
    for block in cosine_blocks(features, features):
        in_threads(_list, len(block), torch.get_num_threads(), block, first, lists, widths)
        first += len(block)
    return Nearest(lists, widths)


@compiled()
def _list(start, stop, block, first, lists, widths):  # type: ignore[no-untyped-def]
    """Fill neighbour lists and largest distances from rows of similarities; row 0 is the image ``first``."""
    length = lists.shape[1]
    best = np.empty(length, dtype=np.float32)
    for row in range(start, stop):
        image = first + row
        lists[image, 0] = image
        size = 1
        farthest = np.float32(np.inf)
        for j in range(block.shape[1]):
            value = block[row, j]
            farthest = min(farthest, value)
            if j == image or (size == length and (length == 1 or value <= best[length - 1])):
                continue
            if size < length:
                size += 1
            place = size - 1  # insertion into the falling list
            while place > 1 and best[place - 1] < value:
                best[place] = best[place - 1]
                lists[image, place] = lists[image, place - 1]
                place -= 1
            best[place] = value
            lists[image, place] = j
        widths[image] = max(np.float32(2) - np.float32(2) * farthest, np.float32(1e-12))


@compiled()
def _blend(  # type: ignore[no-untyped-def]
    start, stop, block, first, widths, weight, indptr, indices, values, colptr, gallery, entries
):
    """Turn rows of cosine similarities into negative re-ranked distances, in place; row 0 is the query ``first``."""
    num_gallery = block.shape[1]
    shared = np.zeros(num_gallery, dtype=np.float32)  # sum of minima of the query and every gallery image
    touched = np.empty(num_gallery, dtype=np.int32)
    one, two = np.float32(1), np.float32(2)
    for row in range(start, stop):
        image = first + row
        for j in range(num_gallery):
            block[row, j] = -(weight * (two - two * block[row, j]) / widths[image] + (one - weight))
        size = 0
        for p in range(indptr[image], indptr[image + 1]):
            for q in range(colptr[indices[p]], colptr[indices[p] + 1]):
                j = gallery[q]
                if shared[j] == 0:
                    touched[size] = j
                    size += 1
                shared[j] += min(values[p], entries[q])
        for t in range(size):
            j = touched[t]
            block[row, j] += (one - weight) * shared[j] / (two - shared[j])
            shared[j] = 0
