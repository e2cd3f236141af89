"""The worker that clusters, to be run in a process of its own: FAISS and numba live there, torch does not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from reid_core.clustering.settings import LabelSettings

if TYPE_CHECKING:
    from reid_core.clustering.labels import Labelling

SearchWith = Literal["auto", "faiss", "torch"]
_PROBE = "import sys; from reid_core.clustering.faiss_search import num_gpus; sys.exit(0 if num_gpus() else 1)"


class InvertedListPlan(NamedTuple):
    """How to search approximately.

    Attributes:
        token: Names the features, so that a worker builds the lists of one clustering once.
        centres: Of the lists, (L, D) float32.
        num_probed: Lists that a query searches.
    """

    token: str
    centres: np.ndarray
    num_probed: int


class ClusterWorker:
    """Answers the calls of ``stages.training.clustering``.

    Threads are bounded by OMP_NUM_THREADS where it is set. FAISS, torch and numba are imported inside the methods, so
    that a process that only names this class never loads them. A process loads FAISS or torch, never both.
    """

    def __init__(self) -> None:
        self._num_threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1
        self._kept: tuple[str, Any] = ("", None)  # what was built for the features of one clustering
        self._searches_with: SearchWith | None = None

    def search(
        self, features: np.ndarray, start: int, stop: int, k: int, token: str = "", search_with: SearchWith = "faiss"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the exact neighbour lists of the images ``start`` to ``stop`` (exclusive).

        Args:
            features: L2-normalised features, (N, D) float32.
            start: First query image.
            stop: One past the last query image.
            k: Length of a list, the image itself included; shortened to N.
            token: Names the features: calls with the same one may reuse what was made of them; empty = reuse nothing.
            search_with: ``faiss``, ``torch``, or ``auto``: torch where there is a GPU that FAISS cannot use.

        Returns:
            Indices (stop - start, k) int32, the image itself first, and similarities (stop - start, k) float32.
        """
        from reid_core.clustering.neighbours import exact_neighbours

        found = exact_neighbours(features, start, stop, k, self._exact(features, token, search_with))
        return found.indices, found.similarities

    def train_lists(self, features: np.ndarray, num_lists: int) -> np.ndarray:
        """Return the centres of inverted lists, (num_lists, D) float32; see ``faiss_search.train_lists``."""
        from reid_core.clustering import faiss_search

        faiss_search.set_num_threads(self._num_threads)
        return faiss_search.train_lists(features, num_lists)

    def search_lists(
        self, features: np.ndarray, start: int, stop: int, k: int, plan: InvertedListPlan
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return approximate neighbour lists from inverted lists; arguments and results as of ``search``."""
        from reid_core.clustering.neighbours import approximate_neighbours

        lists = self._inverted_lists(features, plan)
        found = approximate_neighbours(
            features,
            start,
            stop,
            k,
            lambda queries, count: lists.nearest(queries, count, num_probed=plan.num_probed),
            self._exact(features, "", "faiss"),
        )
        return found.indices, found.similarities

    def measure_recall(
        self, features: np.ndarray, k: int, plan: InvertedListPlan, num_sampled: int, target: float, most_probed: int
    ) -> tuple[float, int]:
        """Compare inverted lists with exact search on a sample, and probe more of them until the recall is enough.

        Args:
            features: L2-normalised features, (N, D) float32.
            k: Length of a list, the image itself included.
            plan: Its ``num_probed`` is where to start.
            num_sampled: Images compared, spread over the data.
            target: Recall to reach by doubling the lists that are probed.
            most_probed: Most lists to probe; the plan's own number to measure only.

        Returns:
            Recall on the sample, below the target where ``most_probed`` lists do not reach it, and the lists to probe.
        """
        from reid_core.clustering.neighbours import exact_lists, recall

        rows = np.unique(np.linspace(0, len(features) - 1, min(num_sampled, len(features))).astype(np.int64))
        expected = exact_lists(features, rows, k, self._exact(features, "", "faiss")).indices
        lists, num_probed = self._inverted_lists(features, plan), plan.num_probed
        while True:
            _, found = lists.nearest(features[rows], expected.shape[1], num_probed=num_probed)
            reached = recall(found, expected)
            if reached >= target or num_probed >= most_probed:
                return reached, num_probed
            num_probed = min(2 * num_probed, most_probed)

    def label(
        self,
        features: np.ndarray,
        neighbours: np.ndarray,
        settings: LabelSettings,
        cameras: np.ndarray | None = None,
    ) -> "Labelling":
        """Return the pseudo labels; see ``labels.label_images``.

        Args:
            features: L2-normalised features, (N, D) float32.
            neighbours: Neighbour lists, the image itself first, (N, at least min(k1, N)) int32.
            settings: All settings.
            cameras: Camera of each image, (N,), or None.
        """
        self._kept = ("", None)
        from reid_core.clustering.labels import label_images

        return label_images(features, neighbours, settings, cameras=cameras, num_threads=self._num_threads)

    def _exact(self, features: np.ndarray, token: str, search_with: SearchWith) -> Any:
        """Return the exact search among ``features``."""
        if search_with == "auto":
            self._searches_with = self._searches_with or _best_search()
            search_with = self._searches_with
        if search_with == "torch":
            from reid_core.clustering.torch_search import TorchSearch

            if not token or self._kept[0] != token:
                self._kept = (token, TorchSearch(features))
            return self._kept[1].nearest
        from reid_core.clustering import faiss_search

        faiss_search.set_num_threads(self._num_threads)
        return lambda queries, count: faiss_search.nearest(queries, features, count)

    def _inverted_lists(self, features: np.ndarray, plan: InvertedListPlan) -> Any:
        from reid_core.clustering import faiss_search

        faiss_search.set_num_threads(self._num_threads)
        if self._kept[0] != plan.token:
            self._kept = (plan.token, faiss_search.InvertedLists(features, plan.centres))
        return self._kept[1]


def _best_search() -> SearchWith:
    """Choose torch where there is a GPU that this build of FAISS cannot use."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "faiss"
    # Asked in a process of its own, because this one must not load FAISS if it is to load torch.
    return "faiss" if subprocess.run([sys.executable, "-c", _PROBE], check=False).returncode == 0 else "torch"
