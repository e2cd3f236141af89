import numpy as np
import pytest

from reid_core.clustering import k_reciprocal as pairs
from reid_core.clustering.k_reciprocal import SparseRows, near_pairs
from reid_core.errors import UserError
from tests.reid_core.clustering.test_jaccard import dense


def _weights(rng: np.random.Generator, num_rows: int, num_entries: int) -> np.ndarray:
    """Draw dense weight rows that sum to 1 and hold themselves."""
    weights = np.zeros((num_rows, num_rows), dtype=np.float32)
    for i in range(num_rows):
        columns = rng.choice(num_rows, size=int(rng.integers(1, num_entries + 1)), replace=False)
        weights[i, columns] = rng.uniform(0.1, 1, size=len(columns))
        weights[i, i] = 1
    normalised: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def _sparse(weights: np.ndarray) -> SparseRows:
    rows, columns = np.nonzero(weights)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(weights)))]).astype(np.int64)
    return SparseRows(indptr, columns.astype(np.int32), weights[rows, columns])


def _oracle(weights: np.ndarray, eps: float) -> np.ndarray:
    """Return distances (N, N), 1 beyond eps."""
    wide = weights.astype(np.float64)
    shared = np.array([[np.minimum(one, other).sum() for other in wide] for one in wide])
    distance = 1 - shared / (2 - shared)
    np.fill_diagonal(distance, 0)
    return np.where(distance <= eps, distance, 1)


def test_two_rows_by_hand() -> None:
    # Minima 0.25 + 0.25: s = 0.5, d = 1 - 0.5 / 1.5.
    weights = np.array([[0.75, 0.25, 0], [0.25, 0.25, 0.5], [0, 0, 1]], dtype=np.float32)
    found = dense(near_pairs(_sparse(weights), eps=0.7))
    # Rows 1 and 2 share 0.5 as well.
    np.testing.assert_allclose(found, [[0, 2 / 3, 1], [2 / 3, 0, 2 / 3], [1, 2 / 3, 0]], atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_against_the_dense_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for num_rows in (1, 2, 30, 90):
        weights = _weights(rng, num_rows, min(num_rows, 20))
        eps = float(rng.uniform(0.5, 0.99))
        np.testing.assert_allclose(dense(near_pairs(_sparse(weights), eps=eps)), _oracle(weights, eps), atol=1e-6)


def test_symmetric_to_the_bit_and_the_same_from_any_number_of_threads() -> None:
    weights = _sparse(_weights(np.random.default_rng(5), 900, 20))  # several tasks
    graphs = [near_pairs(weights, eps=0.97, num_threads=num_threads) for num_threads in (1, 3)]
    whole = dense(graphs[0])
    np.testing.assert_array_equal(whole, whole.T)
    assert (whole < 1).sum() > 900
    np.testing.assert_array_equal(whole, dense(graphs[-1]))


def test_rows_that_share_nothing_are_no_pair() -> None:
    graph = near_pairs(_sparse(np.eye(3, dtype=np.float32)), eps=0.99)
    np.testing.assert_array_equal(dense(graph), 1 - np.eye(3))


def test_more_pairs_than_can_be_held_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_MOST_PAIRS", 5)
    same = _sparse(np.full((4, 4), 0.25, dtype=np.float32))
    with pytest.raises(UserError, match=r"more than 5 pairs of 4 images lie within eps=0.5, .* collapsed"):
        near_pairs(same, eps=0.5)
