"""The worker that clusters, to be run in a process of its own: FAISS and numba live there, torch does not."""

import os

import numpy as np


class ClusterWorker:
    """Answers the calls of ``stages.clustering``.

    Threads are bounded by OMP_NUM_THREADS where it is set. FAISS and numba are imported inside the methods, so that a
    process that only names this class never loads them.
    """

    def __init__(self) -> None:
        # numba's own thread pool: no third OpenMP runtime beside FAISS's.
        os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")
        self._num_threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1

    def search(self, features: np.ndarray, start: int, stop: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the neighbour lists of the images ``start`` to ``stop`` (exclusive).

        Args:
            features: L2-normalised features, (N, D) float32.
            start: First query image.
            stop: One past the last query image.
            k: Length of a list, the image itself included; shortened to N.

        Returns:
            Indices (stop - start, k) int32, the image itself first, and similarities (stop - start, k) float32.
        """
        from reid_core.clustering.neighbours import exact_neighbours, set_num_threads

        set_num_threads(self._num_threads)
        found = exact_neighbours(features, start, stop, k)
        return found.indices, found.similarities

    def label(
        self, features: np.ndarray, neighbours: np.ndarray, k1: int, k2: int, eps: float, min_samples: int
    ) -> tuple[np.ndarray, float, str]:
        """Return pseudo labels (N,) int64 with -1 for outliers, the eps used and a sentence when it was not ``eps``.

        Args:
            features: L2-normalised features, (N, D) float32.
            neighbours: Neighbour lists, the image itself first, (N, at least min(k1, N)) int32.
            k1: Length of the reciprocal lists.
            k2: Neighbours whose weights are averaged.
            eps: Largest Jaccard distance of neighbours.
            min_samples: Neighbours, itself included, that make a core image.
        """
        import numba

        from reid_core.clustering.labels import label_images

        numba.set_num_threads(min(self._num_threads, numba.get_num_threads()))
        found = label_images(features, neighbours, k1=k1, k2=k2, eps=eps, min_samples=min_samples)
        return found.labels, found.eps, found.note
