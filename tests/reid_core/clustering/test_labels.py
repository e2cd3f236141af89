import numpy as np

from reid_core.clustering.labels import label_images
from tests.reid_core.clustering.cases import slow_neighbours


def _groups(rng: np.random.Generator, num_groups: int, size: int, noise: float, dim: int = 32) -> np.ndarray:
    centres = np.repeat(rng.normal(size=(num_groups, dim)), size, axis=0)
    features = centres + noise * rng.normal(size=centres.shape)
    normalised: np.ndarray = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def test_clear_groups_are_found() -> None:
    features = _groups(np.random.default_rng(0), 6, 10, 0.2)
    found = label_images(features, slow_neighbours(features, 10), k1=10, k2=3, eps=0.5, min_samples=4)
    np.testing.assert_array_equal(found.labels, np.repeat(np.arange(6), 10))
    assert (found.eps, found.note) == (0.5, "")


def test_no_cluster_relaxes_eps_and_says_so() -> None:
    features = _groups(np.random.default_rng(1), 6, 10, 0.6)
    found = label_images(features, slow_neighbours(features, 10), k1=10, k2=1, eps=0.01, min_samples=4)
    assert found.labels.max() >= 1
    assert found.eps > 0.01
    assert "no cluster at eps 0.01" in found.note


def test_one_cluster_tightens_eps_and_says_so() -> None:
    # Lists as long as the data set: at a wide eps all images are one cluster.
    features = _groups(np.random.default_rng(2), 2, 12, 0.3)
    found = label_images(features, slow_neighbours(features, 24), k1=24, k2=1, eps=0.94, min_samples=4)
    assert found.labels.max() >= 1
    assert found.eps < 0.94
    assert "one cluster at eps 0.94" in found.note


def test_copies_of_one_image_become_classes_of_their_own() -> None:
    # A collapsed encoder: no eps can separate the images.
    features = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (9, 1))
    found = label_images(features, slow_neighbours(features, 9), k1=9, k2=3, eps=0.5, min_samples=4)
    np.testing.assert_array_equal(found.labels, np.arange(9))
    assert "its own class" in found.note


def test_a_single_image_is_a_class() -> None:
    features = np.array([[1.0, 0.0]], dtype=np.float32)
    found = label_images(features, np.array([[0]], dtype=np.int32), k1=30, k2=6, eps=0.5, min_samples=4)
    np.testing.assert_array_equal(found.labels, [0])
