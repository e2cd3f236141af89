import numpy as np
import pytest

from reid_core.clustering.labels import label_images
from reid_core.clustering.settings import LabelSettings
from tests.reid_core.clustering.cases import slow_neighbours


def _groups(rng: np.random.Generator, num_groups: int, size: int, noise: float, dim: int = 32) -> np.ndarray:
    centres = np.repeat(rng.normal(size=(num_groups, dim)), size, axis=0)
    features = centres + noise * rng.normal(size=centres.shape)
    normalised: np.ndarray = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def test_clear_groups_are_found() -> None:
    features = _groups(np.random.default_rng(0), 6, 10, 0.2)
    found = label_images(features, slow_neighbours(features, 10), LabelSettings(k1=10, k2=3, eps=0.5))
    np.testing.assert_array_equal(found.labels, np.repeat(np.arange(6), 10))
    assert (found.eps, found.note) == (0.5, "")


def test_no_cluster_relaxes_eps_and_says_so() -> None:
    features = _groups(np.random.default_rng(1), 6, 10, 0.6)
    found = label_images(features, slow_neighbours(features, 10), LabelSettings(k1=10, k2=1, eps=0.01))
    assert found.labels.max() >= 1
    assert found.eps > 0.01
    assert "no cluster at eps 0.01" in found.note


def test_one_cluster_tightens_eps_and_says_so() -> None:
    # Lists as long as the data set: at a wide eps all images are one cluster.
    features = _groups(np.random.default_rng(2), 2, 12, 0.3)
    found = label_images(features, slow_neighbours(features, 24), LabelSettings(k1=24, k2=1, eps=0.94))
    assert found.labels.max() >= 1
    assert found.eps < 0.94
    assert "one cluster at eps 0.94" in found.note


def test_copies_of_one_image_become_classes_of_their_own() -> None:
    # A collapsed encoder: no eps can separate the images, and comparing all pairs would take for ever.
    features = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (100_000, 1))
    found = label_images(features, np.zeros((100_000, 1), dtype=np.int32), LabelSettings())
    np.testing.assert_array_equal(found.labels, np.arange(100_000))
    assert "its own class" in found.note


def test_two_places_that_no_eps_separates_become_classes_of_their_own() -> None:
    features = np.array([[1, 0]] * 4 + [[0.999, 0.0447]] * 4, dtype=np.float32)
    found = label_images(features, slow_neighbours(features, 8), LabelSettings(k1=8, k2=8, eps=0.5))
    np.testing.assert_array_equal(found.labels, np.arange(8))
    assert "one cluster at eps 0.5 and fewer than two at every other eps" in found.note


def test_a_single_image_is_a_class() -> None:
    features = np.array([[1.0, 0.0]], dtype=np.float32)
    found = label_images(features, np.array([[0]], dtype=np.int32), LabelSettings(k1=30, k2=6, eps=0.5))
    np.testing.assert_array_equal(found.labels, [0])


def _two_cameras(num_groups: int, size: int, seen_once: int) -> np.ndarray:
    cameras = np.tile(np.arange(size) % 2, num_groups)
    cameras[:seen_once] = 0
    return cameras


def test_small_clusters_and_clusters_of_one_camera_become_outliers() -> None:
    features = _groups(np.random.default_rng(0), 6, 10, 0.2)
    features = np.delete(features, [30, 31, 32, 33], axis=0)  # the fourth group has six images left
    lists = slow_neighbours(features, 6)
    whole = label_images(features, lists, LabelSettings(k1=6, k2=3, eps=0.5))
    assert whole.labels.max() == 5
    small = label_images(features, lists, LabelSettings(k1=6, k2=3, eps=0.5, min_cluster_size=7))
    np.testing.assert_array_equal(
        small.labels, np.select([whole.labels < 3, whole.labels > 3], [whole.labels, whole.labels - 1], -1)
    )
    assert small.num_dropped == 6
    cameras = np.delete(_two_cameras(6, 10, 10), [30, 31, 32, 33])
    crossing = label_images(features, lists, LabelSettings(k1=6, k2=3, eps=0.5, min_cameras=2), cameras=cameras)
    np.testing.assert_array_equal(
        crossing.labels, np.maximum(whole.labels - 1, -1)
    )  # the first group is seen by one camera
    assert crossing.num_dropped == 10


def test_constraints_that_leave_fewer_than_two_clusters_are_left_out() -> None:
    features = _groups(np.random.default_rng(0), 4, 10, 0.2)
    found = label_images(
        features, slow_neighbours(features, 8), LabelSettings(k1=8, k2=3, eps=0.5, min_cluster_size=11)
    )
    assert found.labels.max() == 3
    assert "they were left out" in found.note


def test_reliability_drops_the_cluster_that_a_looser_eps_would_merge() -> None:
    # Two groups whose distance lies just beyond eps, and four clear ones.
    rng = np.random.default_rng(3)
    features = _groups(rng, 6, 10, 0.15)
    mixed = features[:10] + 1.1 * features[10:20]
    features[10:20] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    lists = slow_neighbours(features, 14)
    eps = next(
        e
        for e in np.arange(0.3, 0.94, 0.01)
        if label_images(features, lists, LabelSettings(k1=14, k2=1, eps=float(e + 0.02))).labels.max() < 5
    )
    settings = LabelSettings(k1=14, k2=1, eps=float(eps), reliable_only=True)
    plain = label_images(features, lists, LabelSettings(k1=14, k2=1, eps=float(eps)))
    assert plain.labels.max() == 5
    found = label_images(features, lists, settings)
    np.testing.assert_array_equal(found.labels[:20], -1)
    assert found.labels.max() == 3
    assert found.num_dropped >= 20


def test_leiden_finds_clear_groups_too() -> None:
    features = _groups(np.random.default_rng(0), 6, 10, 0.2)
    found = label_images(
        features, slow_neighbours(features, 10), LabelSettings(k1=10, k2=3, eps=0.5, algorithm="leiden")
    )
    np.testing.assert_array_equal(found.labels, np.repeat(np.arange(6), 10))


def test_cameras_are_wanted_where_they_count() -> None:
    features = _groups(np.random.default_rng(0), 6, 10, 0.2)
    with pytest.raises(AssertionError, match="camera"):
        label_images(features, slow_neighbours(features, 10), LabelSettings(k1=10, k2=3, eps=0.5, min_cameras=2))
