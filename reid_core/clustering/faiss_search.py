"""Nearest features by inner product with FAISS; the only module that imports it.

FAISS and torch bring OpenMP runtimes of their own and hang or crash in one process, so this module is imported by
``ClusterWorker`` alone, inside the processes of its pool.

N: images, D: feature size, Q: queries, L: inverted lists.
"""

import faiss
import numpy as np

_MOST_ON_GPU = 2048  # neighbours of one query that FAISS finds on a GPU
_ITERATIONS = 10  # of k-means
_POINTS_A_LIST = 64  # images that k-means sees for every list; more does not raise the recall


def set_num_threads(num_threads: int) -> None:
    """Bound the threads of FAISS in this process."""
    faiss.omp_set_num_threads(num_threads)


def num_gpus() -> int:
    """Return the GPUs that this build of FAISS can use."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def nearest(queries: np.ndarray, features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Search exactly.

    Args:
        queries: Features, (Q, D) float32.
        features: Features, (N, D) float32.
        k: Neighbours to find, at most N.

    Returns:
        Similarities (Q, k) float32, falling, and indices (Q, k) int64.
    """
    if k <= _MOST_ON_GPU and num_gpus():
        resources = faiss.StandardGpuResources()
        similarities, indices = faiss.knn_gpu(resources, queries, features, k, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        similarities, indices = faiss.knn(queries, features, k, metric=faiss.METRIC_INNER_PRODUCT)
    return similarities, indices


def train_lists(features: np.ndarray, num_lists: int) -> np.ndarray:
    """Return the centres of the inverted lists: spherical k-means from a fixed seed over a spread of the rows.

    Args:
        features: L2-normalised, (N, D) float32.
        num_lists: L, at most N.

    Returns:
        Centres (L, D) float32.
    """
    num_points = min(len(features), num_lists * _POINTS_A_LIST)
    points = features[np.linspace(0, len(features) - 1, num_points).astype(np.int64)]
    means = faiss.Kmeans(
        features.shape[1],
        num_lists,
        niter=_ITERATIONS,
        seed=1,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_A_LIST,
    )
    means.train(points)
    assert means.centroids is not None
    return np.asarray(means.centroids)


class InvertedLists:
    """Features in inverted lists (IVF), for approximate search.

    Args:
        features: L2-normalised, (N, D) float32; the lists keep a copy.
        centres: Of the lists, (L, D) float32.
    """

    def __init__(self, features: np.ndarray, centres: np.ndarray) -> None:
        self._coarse = faiss.IndexFlatIP(features.shape[1])
        self._coarse.add(centres)
        self._index = faiss.IndexIVFFlat(self._coarse, features.shape[1], len(centres), faiss.METRIC_INNER_PRODUCT)
        self._index.add(features)

    def nearest(self, queries: np.ndarray, k: int, *, num_probed: int) -> tuple[np.ndarray, np.ndarray]:
        """Search the lists whose centres are nearest to each query.

        Args:
            queries: Features, (Q, D) float32.
            k: Neighbours to find.
            num_probed: Lists to search, at most L.

        Returns:
            Similarities (Q, k) float32, falling, and indices (Q, k) int64, -1 where the lists hold fewer than k.
        """
        self._index.nprobe = num_probed
        similarities, indices = self._index.search(queries, k)
        return similarities, indices
