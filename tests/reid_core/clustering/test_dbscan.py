import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from reid_core.clustering.k_reciprocal import SparseRows, jaccard_graph
from reid_core.clustering.labels import dbscan
from tests.reid_core.clustering.cases import random_features, slow_neighbours
from tests.reid_core.clustering.test_jaccard import dense


def sparse(distance: np.ndarray, eps: float) -> SparseRows:
    rows, columns = np.nonzero(distance <= eps)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(distance)))]).astype(np.int64)
    return SparseRows(indptr, columns.astype(np.int32), distance[rows, columns].astype(np.float32))


def test_a_chain_a_border_and_an_outlier_by_hand() -> None:
    # Points on a line at 0, 1, 2, 3.5 and 9; eps 1.5, three neighbours: 1 and 2 are core (2 reaches 3.5).
    points = np.array([0, 1, 2, 3.5, 9])
    distance = np.abs(points[:, None] - points)
    np.testing.assert_array_equal(dbscan(sparse(distance, 1.5), eps=1.5, min_samples=3), [0, 0, 0, 0, -1])


def test_a_border_between_two_clusters_joins_the_first() -> None:
    points = np.array([10, 10.5, 11, 8.9, 7, 7.2, 7.4])
    distance = np.abs(points[:, None] - points)
    labels = dbscan(sparse(distance, 1.6), eps=1.6, min_samples=4)
    np.testing.assert_array_equal(labels, DBSCAN(eps=1.6, min_samples=4, metric="precomputed").fit_predict(distance))


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn_on_random_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(60):
        num_images = int(rng.integers(1, 60))
        points = rng.integers(0, 12, size=(num_images, 2))  # a grid: many exact ties with eps
        distance = np.abs(points[:, None] - points).sum(axis=2).astype(np.float32)
        eps, min_samples = float(rng.integers(0, 4)), int(rng.integers(1, 7))
        expected = DBSCAN(eps=max(eps, 1e-9), min_samples=min_samples, metric="precomputed").fit_predict(distance)
        np.testing.assert_array_equal(dbscan(sparse(distance, eps), eps=eps, min_samples=min_samples), expected)


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn_on_jaccard_distances(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    for _ in range(20):
        features = random_features(rng, int(rng.integers(10, 120)))
        lists = slow_neighbours(features, 12)
        graph = jaccard_graph(features, lists, k1=12, k2=3, eps=0.6)
        expected = DBSCAN(eps=0.6, min_samples=4, metric="precomputed").fit_predict(dense(graph))
        np.testing.assert_array_equal(dbscan(graph, eps=0.6, min_samples=4), expected)


def test_a_smaller_eps_than_the_graph_was_built_with() -> None:
    points = np.array([0.0, 1, 2, 10, 11])
    distance = np.abs(points[:, None] - points)
    np.testing.assert_array_equal(
        dbscan(sparse(distance, 20), eps=1, min_samples=2), dbscan(sparse(distance, 1), eps=1, min_samples=2)
    )
