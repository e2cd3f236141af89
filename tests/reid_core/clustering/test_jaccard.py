import math

import numpy as np
import pytest

from reid_core.clustering.k_reciprocal import SparseRows, jaccard_graph
from tests.reid_core.clustering.cases import random_features, slow_neighbours

_ALL = 1 - 1e-9  # keeps every pair that shares anything


def oracle(features: np.ndarray, lists: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """Dense distances (N, N), word by word from Zhong et al., section 3, in float64."""
    num_images, length = len(features), min(k1, len(features))
    half_length = min(round(k1 / 2) + 1, length)

    def reciprocal(i: int, k: int) -> set[int]:
        return {int(j) for j in lists[i, :k] if i in lists[j, :k]}

    weights = np.zeros((num_images, num_images))
    for i in range(num_images):
        own = reciprocal(i, length)
        grown = set(own)
        for j in own:
            candidate = reciprocal(j, half_length)
            if 3 * len(candidate & own) > 2 * len(candidate):
                grown |= candidate
        for j in grown:
            cosine = float(features[i].astype(np.float64) @ features[j].astype(np.float64))
            weights[i, j] = math.exp(-(2 - 2 * cosine))
        weights[i] /= weights[i].sum()
    expanded = np.stack([weights[lists[i, : min(k2, length)]].mean(axis=0) for i in range(num_images)])
    distance = np.ones((num_images, num_images))
    for i in range(num_images):
        for j in range(num_images):
            shared = np.minimum(expanded[i], expanded[j]).sum()
            distance[i, j] = 1 - shared / (2 - shared)
    return distance


def dense(graph: SparseRows) -> np.ndarray:
    num_images = len(graph.indptr) - 1
    result = np.ones((num_images, num_images))
    for i in range(num_images):
        row = slice(graph.indptr[i], graph.indptr[i + 1])
        assert (np.diff(graph.indices[row]) > 0).all(), "columns rise"
        result[i, graph.indices[row]] = graph.values[row]
    return result


def test_two_pairs_by_hand() -> None:
    # Lists of two: a pair of copies is reciprocal, so each row has weight 1/2 on both: distance 0; the pairs share
    # nothing: distance 1.
    features = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    graph = jaccard_graph(features, slow_neighbours(features, 2), k1=2, k2=1, eps=_ALL)
    np.testing.assert_allclose(dense(graph), np.kron(1 - np.eye(2), np.ones((2, 2))), atol=1e-7)


def test_weights_of_three_points_by_hand() -> None:
    # k1 = 3 holds all: every row is over all three. a = b, c orthogonal: weights (1, 1, e^-2) / (2 + e^-2) for a and b,
    # (e^-2, e^-2, 1) / (1 + 2 e^-2) for c.
    features = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    small = math.exp(-2)
    of_a = np.array([1, 1, small]) / (2 + small)
    of_c = np.array([small, small, 1]) / (1 + 2 * small)
    shared = np.minimum(of_a, of_c).sum()
    distance = dense(jaccard_graph(features, slow_neighbours(features, 3), k1=3, k2=1, eps=_ALL))
    assert distance[0, 1] == pytest.approx(0, abs=1e-6)
    assert distance[0, 2] == pytest.approx(1 - shared / (2 - shared), abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_against_the_dense_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        num_images = int(rng.integers(1, 40))
        features = random_features(rng, num_images)
        k1, k2 = int(rng.integers(1, 45)), int(rng.integers(1, 9))
        lists = slow_neighbours(features, min(k1, num_images))
        graph = jaccard_graph(features, lists, k1=k1, k2=k2, eps=_ALL)
        expected = oracle(features, lists, k1, k2)
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(dense(graph), expected, atol=1e-6, err_msg=f"N={num_images} k1={k1} k2={k2}")


def test_symmetric_to_the_bit_and_zero_to_itself() -> None:
    features = random_features(np.random.default_rng(5), 200)
    distance = dense(jaccard_graph(features, slow_neighbours(features, 20), k1=20, k2=6, eps=_ALL))
    np.testing.assert_array_equal(distance, distance.T)
    np.testing.assert_array_equal(np.diag(distance), 0)


def test_eps_only_cuts() -> None:
    features = random_features(np.random.default_rng(6), 100)
    lists = slow_neighbours(features, 15)
    whole = dense(jaccard_graph(features, lists, k1=15, k2=4, eps=_ALL))
    cut = dense(jaccard_graph(features, lists, k1=15, k2=4, eps=0.5))
    np.testing.assert_array_equal(cut, np.where(whole <= 0.5, whole, 1))


def test_number_of_threads_changes_nothing() -> None:
    features = random_features(np.random.default_rng(7), 700)
    lists = slow_neighbours(features, 10)
    alone = jaccard_graph(features, lists, k1=10, k2=3, eps=0.6)
    for one, other in zip(alone, jaccard_graph(features, lists, k1=10, k2=3, eps=0.6, num_threads=3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_order_of_the_images_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    features = rng.normal(size=(60, 16)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    shuffled = rng.permutation(60)
    one = dense(jaccard_graph(features, slow_neighbours(features, 12), k1=12, k2=3, eps=_ALL))
    two = dense(jaccard_graph(features[shuffled], slow_neighbours(features[shuffled], 12), k1=12, k2=3, eps=_ALL))
    np.testing.assert_allclose(one[shuffled][:, shuffled], two, atol=1e-6)


def test_refuses_an_eps_that_would_join_everything() -> None:
    with pytest.raises(AssertionError):
        jaccard_graph(np.eye(2, dtype=np.float32), np.array([[0], [1]]), k1=1, k2=1, eps=1.0)
