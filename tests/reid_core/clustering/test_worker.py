import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import pytest

from reid_core.clustering.settings import LabelSettings
from reid_core.clustering.worker import ClusterWorker, InvertedListPlan, SearchWith

if TYPE_CHECKING:
    from reid_core.clustering.labels import Labelling


_SETTINGS = LabelSettings(k1=10, k2=3, eps=0.5)


def _features() -> np.ndarray:
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(6, 32)), 10, axis=0) + 0.2 * rng.normal(size=(60, 32))
    normalised: np.ndarray = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def _lists(features: np.ndarray, search_with: SearchWith) -> np.ndarray:
    worker = ClusterWorker()
    blocks = [worker.search(features, start, start + 20, 10, "one", search_with)[0] for start in (0, 20, 40)]
    return np.concatenate(blocks)


def _cluster(features: np.ndarray) -> "Labelling":
    return ClusterWorker().label(features, _lists(features, "faiss"), _SETTINGS)


def _approximate(features: np.ndarray, target: float, most_probed: int) -> tuple[np.ndarray, float, int]:
    worker = ClusterWorker()
    plan = InvertedListPlan("one", worker.train_lists(features, 6), 1)
    reached, num_probed = worker.measure_recall(features, 10, plan, 60, target, most_probed)
    plan = plan._replace(num_probed=num_probed)
    blocks = [worker.search_lists(features, start, start + 20, 10, plan)[0] for start in (0, 20, 40)]
    return np.concatenate(blocks), reached, num_probed


def test_searches_in_blocks_and_labels() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        found = executor.submit(_cluster, _features()).result()
    np.testing.assert_array_equal(found.labels, np.repeat(np.arange(6), 10))
    assert (found.eps, found.note) == (0.5, "")
    assert found.silhouette > 0.5


def test_torch_finds_what_faiss_finds() -> None:
    # Each in a process of its own, as they must be; the second kind of features is full of exact ties.
    ties = (np.random.default_rng(1).choice([-1.0, 1.0], size=(60, 4)) / 2).astype(np.float32)
    for features in (_features(), ties):
        lists = []
        for search_with in ("faiss", "torch", "auto"):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
                lists.append(executor.submit(_lists, features, search_with).result())
        np.testing.assert_array_equal(lists[0], lists[1])
        np.testing.assert_array_equal(lists[0], lists[2])


def test_inverted_lists_are_probed_until_the_recall_is_enough() -> None:
    features = _features()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        exact = executor.submit(_lists, features, "faiss").result()
        all_lists, reached, probed = executor.submit(_approximate, features, 1.0, 6).result()
        np.testing.assert_array_equal(all_lists, exact)
        assert (reached, 1 <= probed <= 6) == (1.0, True)
        _, measured, kept = executor.submit(_approximate, features, 1.0, 1).result()
    assert kept == 1
    assert 0.5 < measured <= 1


def test_naming_the_worker_loads_neither_faiss_nor_numba() -> None:
    code = "import sys; from reid_core.clustering.worker import ClusterWorker; ClusterWorker(); " + (
        "print(sorted({'faiss', 'numba', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("search_with", "other"), [("faiss", "torch"), ("torch", "faiss")])
def test_a_process_loads_faiss_or_torch_never_both(search_with: str, other: str) -> None:
    code = (
        "import sys, numpy as np; from reid_core.clustering.worker import ClusterWorker, LabelSettings; "
        "worker, features = ClusterWorker(), np.eye(9, dtype=np.float32); "
        f"lists, _ = worker.search(features, 0, 9, 3, search_with='{search_with}'); "
        f"worker.label(features, lists, LabelSettings(k1=3)); assert '{other}' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
