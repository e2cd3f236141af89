from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from reid_core.clustering.neighbours import Neighbours, approximate_neighbours, exact_neighbours, recall
from tests.reid_core.clustering.cases import random_features, slow_neighbours


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    # FAISS must not run beside torch, which other tests have loaded into this process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        yield executor


def _search(features: np.ndarray, start: int, stop: int, k: int) -> Neighbours:
    from reid_core.clustering.faiss_search import nearest, set_num_threads

    set_num_threads(1)
    return exact_neighbours(features, start, stop, k, lambda queries, count: nearest(queries, features, count))


def test_three_points_by_hand(process: ProcessPoolExecutor) -> None:
    features = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    indices, similarities = process.submit(_search, features, 0, 3, 2).result()
    np.testing.assert_array_equal(indices, [[0, 2], [1, 2], [2, 1]])
    np.testing.assert_allclose(similarities, [[1, 0.6], [1, 0.8], [1, 0.8]], atol=1e-6)


@pytest.mark.parametrize("num_images", [1, 2, 7, 40, 90])
def test_exact_ties_follow_the_index(process: ProcessPoolExecutor, num_images: int) -> None:
    # Inner products of these are exact, so every tie is a tie for FAISS too; few distinct rows, many copies.
    rng = np.random.default_rng(num_images)
    features = rng.choice([-0.5, 0.5], size=(num_images, 4)).astype(np.float32)
    for k in (1, 2, 5, num_images, num_images + 3):
        indices, _ = process.submit(_search, features, 0, num_images, k).result()
        np.testing.assert_array_equal(indices, slow_neighbours(features, k))


def test_an_image_leads_its_list_among_a_hundred_copies(process: ProcessPoolExecutor) -> None:
    features = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (100, 1))
    indices, _ = process.submit(_search, features, 0, 100, 10).result()
    np.testing.assert_array_equal(indices[:, 0], np.arange(100))
    np.testing.assert_array_equal(indices[50, 1:], np.arange(9))


def test_random_similarities_are_the_largest(process: ProcessPoolExecutor) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        features = random_features(rng, 50)
        indices, similarities = process.submit(_search, features, 10, 30, 8).result()
        whole = np.sort(features[10:30] @ features.T, axis=1)[:, ::-1]
        np.testing.assert_allclose(np.sort(similarities, axis=1)[:, ::-1], whole[:, :8], atol=1e-6)
        assert all(len(set(row)) == 8 for row in indices.tolist())


def test_blocks_do_not_change_the_lists(process: ProcessPoolExecutor) -> None:
    features = random_features(np.random.default_rng(3), 64)
    whole, _ = process.submit(_search, features, 0, 64, 10).result()
    first, _ = process.submit(_search, features, 0, 32, 10).result()
    second, _ = process.submit(_search, features, 32, 64, 10).result()
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)


def test_refuses_an_empty_block(process: ProcessPoolExecutor) -> None:
    with pytest.raises(AssertionError):
        process.submit(_search, np.eye(3, dtype=np.float32), 2, 2, 1).result()


def test_a_tie_longer_than_any_search_is_looked_up(process: ProcessPoolExecutor) -> None:
    # 2,100 copies of one image, which an encoder that collapsed makes, and one other image.
    features = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (2101, 1))
    features[7] = [1, 0]
    indices, similarities = process.submit(_search, features, 1000, 1010, 6).result()
    np.testing.assert_array_equal(indices[:, 0], np.arange(1000, 1010))
    np.testing.assert_array_equal(indices[:, 1:], np.tile(np.arange(5), (10, 1)))
    np.testing.assert_allclose(similarities, 1, atol=1e-6)
    np.testing.assert_array_equal(process.submit(_search, features, 7, 8, 3).result().indices, [[7, 0, 1]])


def test_images_that_the_lists_leave_short_are_searched_exactly() -> None:
    features = random_features(np.random.default_rng(4), 30)
    whole = slow_neighbours(features, 5)

    def exact(queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        similarity = queries @ features.T
        rows = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(similarity, rows, 1), rows

    def poor(queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        values, rows = exact(queries, count)
        rows[::2, -1] = -1
        return values, rows

    found = approximate_neighbours(features, 0, 30, 5, poor, exact)
    np.testing.assert_array_equal(found.indices[::2], whole[::2])
    assert (found.indices >= 0).all()


def test_recall_by_hand() -> None:
    expected = np.array([[0, 1, 2], [1, 0, 2]])
    assert recall(np.array([[0, 1, 3], [1, 2, 0]]), expected) == pytest.approx(3 / 4)
    assert recall(np.array([[0]]), np.array([[0]])) == 1
