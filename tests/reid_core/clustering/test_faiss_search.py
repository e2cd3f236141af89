from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from tests.reid_core.clustering.cases import random_features


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    # FAISS must not run beside torch, which other tests have loaded into this process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        yield executor


def _nearest(queries: np.ndarray, features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    from reid_core.clustering import faiss_search

    faiss_search.set_num_threads(1)
    return faiss_search.nearest(queries, features, k)


def _train(features: np.ndarray, num_lists: int) -> np.ndarray:
    from reid_core.clustering import faiss_search

    return faiss_search.train_lists(features, num_lists)


def _probe(features: np.ndarray, centres: np.ndarray, k: int, num_probed: int) -> tuple[np.ndarray, np.ndarray]:
    from reid_core.clustering import faiss_search

    return faiss_search.InvertedLists(features, centres).nearest(features, k, num_probed=num_probed)


def test_similarities_fall_and_belong_to_their_rows(process: ProcessPoolExecutor) -> None:
    features = random_features(np.random.default_rng(0), 50)
    values, rows = process.submit(_nearest, features[:8], features, 6).result()
    whole = features[:8] @ features.T
    np.testing.assert_allclose(values, np.sort(whole, axis=1)[:, ::-1][:, :6], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(whole, rows, 1), values, atol=1e-6)


def test_centres_are_directions_and_the_same_each_time(process: ProcessPoolExecutor) -> None:
    features = random_features(np.random.default_rng(1), 200)
    one, other = (process.submit(_train, features, 8).result() for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (8, features.shape[1])
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)


def test_all_lists_give_the_exact_answer_and_one_list_its_own(process: ProcessPoolExecutor) -> None:
    # Two lists by hand: right and left; a query that probes one sees its own side only.
    features = np.array([[1, 0], [0.8, 0.6], [-1, 0], [-0.8, 0.6]], dtype=np.float32)
    centres = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    _, both = process.submit(_probe, features, centres, 3, 2).result()
    np.testing.assert_array_equal(both, [[0, 1, 3], [1, 0, 3], [2, 3, 1], [3, 2, 1]])
    _, one = process.submit(_probe, features, centres, 3, 1).result()
    np.testing.assert_array_equal(one, [[0, 1, -1], [1, 0, -1], [2, 3, -1], [3, 2, -1]])
