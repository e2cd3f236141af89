import numpy as np
import pytest

from reid_core.clustering.reliability import overlap, reliable_images


def _members(labels: np.ndarray, i: int) -> set[int]:
    return {i} if labels[i] < 0 else set(np.flatnonzero(labels == labels[i]).tolist())


def _oracle(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Word by word: intersection over union of the two clusters that hold the image."""
    pairs = [(_members(labels, i), _members(others, i)) for i in range(len(labels))]
    return np.array([len(a & b) / len(a | b) for a, b in pairs])


def _draw(rng: np.random.Generator, num_images: int) -> np.ndarray:
    labels: np.ndarray = rng.integers(-1, 5, size=num_images)
    labels[labels >= 0] = np.unique(labels[labels >= 0], return_inverse=True)[1]
    return labels


def test_by_hand() -> None:
    # Cluster 0 = {0, 1, 2} merges with cluster 1 = {3, 4, 5} when loosened; cluster 2 = {6, 7, 8, 9} stays, and loses
    # image 9 when tightened.
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, -1])
    loosened = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, -1])
    tightened = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, -1, -1])
    np.testing.assert_allclose(overlap(labels, loosened), [0.5] * 6 + [1] * 5)
    np.testing.assert_allclose(overlap(labels, tightened), [1] * 6 + [0.75] * 3 + [0.25, 1])
    kept = reliable_images(labels, loosened, tightened, min_independence=0.8)
    np.testing.assert_array_equal(kept, [False] * 6 + [True] * 3 + [False, False])
    kept = reliable_images(labels, loosened, tightened, min_independence=0.5)
    np.testing.assert_array_equal(kept, [True] * 9 + [False, False])


@pytest.mark.parametrize("seed", range(5))
def test_against_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        labels, loosened, tightened = (_draw(rng, 25) for _ in range(3))
        np.testing.assert_allclose(overlap(labels, loosened), _oracle(labels, loosened), atol=1e-12)
        least = float(rng.uniform())
        independent, compact = _oracle(labels, loosened), _oracle(labels, tightened)
        expected = [
            labels[i] >= 0
            and max(independent[j] for j in _members(labels, i)) >= least
            and compact[i] == max(compact[j] for j in _members(labels, i))
            for i in range(25)
        ]
        np.testing.assert_array_equal(reliable_images(labels, loosened, tightened, min_independence=least), expected)


def test_the_same_clusters_at_every_eps_are_all_reliable() -> None:
    labels = np.array([0, 0, 1, 1, -1])
    np.testing.assert_array_equal(reliable_images(labels, labels, labels, min_independence=1.0), labels >= 0)


def test_outliers_alone_are_never_reliable() -> None:
    labels = np.full(3, -1)
    assert not reliable_images(labels, labels, labels, min_independence=0).any()
