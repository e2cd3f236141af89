from collections.abc import Iterator

import numpy as np
import pytest

from reid_core.clustering.leiden import leiden, number_by_first
from tests.reid_core.clustering.test_dbscan import sparse


def _modularity(weights: np.ndarray, labels: np.ndarray) -> float:
    """Newman and Girvan's modularity, word by word."""
    degree, total = weights.sum(axis=1), weights.sum()
    same = labels[:, None] == labels
    return float(((weights / total - np.outer(degree, degree) / total**2) * same).sum())


def _partitions(num_images: int) -> Iterator[np.ndarray]:
    """Yield every way to split images into groups."""

    def grow(prefix: list[int]) -> Iterator[np.ndarray]:
        if len(prefix) == num_images:
            yield np.array(prefix)
            return
        for group in range(max(prefix, default=-1) + 2):
            yield from grow([*prefix, group])

    return grow([])


def test_two_cliques_and_a_bridge_by_hand() -> None:
    # DBSCAN would walk over the bridge between image 2 and image 3; Leiden does not.
    distance = np.ones((6, 6))
    distance[:3, :3] = distance[3:, 3:] = 0.2
    distance[2, 3] = distance[3, 2] = 0.4
    np.fill_diagonal(distance, 0)
    np.testing.assert_array_equal(leiden(sparse(distance, 0.5), eps=0.5, min_samples=2), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("seed", range(8))
def test_no_partition_of_seven_images_is_better(seed: int) -> None:
    # Groups of three and four, close within, and a few links between.
    rng = np.random.default_rng(seed)
    group = np.array([0, 1, 0, 1, 1, 0, 1])
    near = rng.uniform(0.1, 0.3, size=(7, 7))
    distance = np.where(group[:, None] == group, near, np.where(rng.uniform(size=(7, 7)) < 0.3, 0.4, 1))
    distance = np.minimum(distance, distance.T)
    np.fill_diagonal(distance, 0)
    weights = np.where(distance <= 0.5, 1 - distance, 0)
    np.fill_diagonal(weights, 0)
    found = _modularity(weights, leiden(sparse(distance, 0.5), eps=0.5, min_samples=1))
    assert found == pytest.approx(max(_modularity(weights, labels) for labels in _partitions(7)))


def test_small_communities_and_lonely_images_are_outliers_and_order_follows_the_first_image() -> None:
    distance = np.ones((7, 7))
    distance[np.ix_([0, 5], [0, 5])] = 0.1
    distance[np.ix_([1, 2, 4], [1, 2, 4])] = 0.1
    np.fill_diagonal(distance, 0)
    np.testing.assert_array_equal(leiden(sparse(distance, 0.5), eps=0.5, min_samples=3), [-1, 0, 0, -1, 0, -1, -1])
    np.testing.assert_array_equal(leiden(sparse(distance, 0.5), eps=0.5, min_samples=2), [0, 1, 1, -1, 1, 0, -1])


def test_the_same_graph_gives_the_same_labels() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(120, 2))
    distance = np.linalg.norm(points[:, None] - points, axis=2) / 3
    graph = sparse(distance, 0.3)
    np.testing.assert_array_equal(leiden(graph, eps=0.3, min_samples=2), leiden(graph, eps=0.3, min_samples=2))


def test_without_any_link_every_image_is_alone() -> None:
    graph = sparse(1 - np.eye(3), 0.5)
    np.testing.assert_array_equal(leiden(graph, eps=0.5, min_samples=1), [0, 1, 2])
    np.testing.assert_array_equal(leiden(graph, eps=0.5, min_samples=2), [-1, -1, -1])


def test_numbers_follow_the_first_kept_image() -> None:
    groups = np.array([9, 3, 9, 5, 3])
    np.testing.assert_array_equal(number_by_first(groups, np.array([False, True, True, True, True])), [-1, 0, 1, 2, 0])
