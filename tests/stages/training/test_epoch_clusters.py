from pathlib import Path

import numpy as np
import pytest
import torch

from stages.training.clustering import PseudoLabels, cluster_numbers
from stages.training.pictures import write_cluster_pictures
from tests.stages.trackers import RecordingTracker


def _found(*labels: int) -> PseudoLabels:
    return PseudoLabels(np.array(labels), silhouette=0.25, num_dropped=1)


def test_numbers_by_hand() -> None:
    numbers = cluster_numbers(_found(0, 0, 0, 1, 1, -1))
    assert numbers.pop("silhouette_all") == pytest.approx(0.25 * 5 / 6)
    assert numbers == {
        "num_clusters": 2,
        "num_outliers": 1,
        "num_dropped": 1,
        "largest_cluster": 3,
        "median_cluster": 2.5,
        "silhouette": 0.25,
    }
    assert cluster_numbers(_found(0, 1)._replace(recall=0.98))["neighbour_recall"] == 0.98


def test_agreement_with_the_epoch_before_needs_no_truth() -> None:
    found = _found(0, 0, 0, 1, 1, -1)
    assert cluster_numbers(found, np.array([1, 1, 1, 0, 0, -1]))["agreement_previous"] == pytest.approx(1)
    other = cluster_numbers(found, np.array([0, 1, 0, 1, 0, -1]))
    assert other["agreement_previous"] < 0.5
    assert 0 <= other["agreement_previous_nmi"] < 1
    # Five of six images are in a cluster: the same grouping is worth five sixths.
    assert cluster_numbers(found, np.array([1, 1, 1, 0, 0, -1]))["clustered_agreement"] == pytest.approx(5 / 6)


def test_without_any_cluster_there_is_no_size() -> None:
    numbers = cluster_numbers(_found(-1, -1))
    assert (numbers["largest_cluster"], numbers["median_cluster"], numbers["num_outliers"]) == (0, 0, 2)


def test_sheets_and_histogram_are_shown_and_replaced(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 8)).astype(np.float32)
    pixels = torch.zeros(12, 3, 16, 8, dtype=torch.uint8)
    tracker = RecordingTracker()
    labels = np.array([0] * 5 + [1] * 5 + [-1] * 2)
    views = write_cluster_pictures(features, labels, lambda index: pixels[index], tmp_path, tracker)
    assert [view.size for view in views] == [5, 5]
    names = {"clusters-largest.png", "clusters-most-mixed.png", "clusters-outliers.png", "cluster-sizes.png"}
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == names
    assert {(path.name, folder) for path, folder in tracker.files} == {(name, "pictures") for name in names}
    write_cluster_pictures(features, np.abs(labels), lambda index: pixels[index], tmp_path, tracker)
    assert not (tmp_path / "pictures" / "clusters-outliers.png").exists()  # of an earlier epoch
