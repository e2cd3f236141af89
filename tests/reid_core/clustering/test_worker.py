import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from reid_core.clustering.worker import ClusterWorker


def _cluster(features: np.ndarray) -> tuple[np.ndarray, float, str]:
    worker = ClusterWorker()
    blocks = [worker.search(features, start, start + 20, 10)[0] for start in (0, 20, 40)]
    return worker.label(features, np.concatenate(blocks), 10, 3, 0.5, 4)


def test_searches_in_blocks_and_labels() -> None:
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(6, 32)), 10, axis=0) + 0.2 * rng.normal(size=(60, 32))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        labels, eps, note = executor.submit(_cluster, features).result()
    np.testing.assert_array_equal(labels, np.repeat(np.arange(6), 10))
    assert (eps, note) == (0.5, "")


def test_naming_the_worker_loads_neither_faiss_nor_numba() -> None:
    code = "import sys; from reid_core.clustering.worker import ClusterWorker; ClusterWorker(); " + (
        "print(sorted({'faiss', 'numba', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
