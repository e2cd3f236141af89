import numpy as np
import pytest

from reid_core.evaluation.plots.clusters import describe_clusters, largest, most_mixed, outliers


def _features(*degrees: float) -> np.ndarray:
    radians = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_views_by_hand() -> None:
    # Cluster 0: two images 60 degrees apart, each 30 from the centre. Cluster 1: three copies. One outlier.
    features = _features(0, 60, 90, 90, 90, 200)
    views = describe_clusters(features, np.array([0, 0, 1, 1, 1, -1]), num_shown=2)
    assert [(view.label, view.size) for view in views] == [(0, 2), (1, 3)]
    assert views[0].spread == pytest.approx(1 - np.cos(np.deg2rad(30)), abs=1e-6)
    assert views[1].spread == pytest.approx(0, abs=1e-6)
    assert [len(view.members) for view in views] == [2, 2]
    assert largest(views, 1)[0].label == 1
    assert most_mixed(views, 1)[0].label == 0


def test_members_run_from_the_centre_to_the_edge() -> None:
    [view] = describe_clusters(_features(0, 3, -3, 50, -50), np.zeros(5, dtype=np.int64), num_shown=3)
    assert view.members[0] == 0
    assert view.members[-1] in {3, 4}


def test_only_outliers_have_no_view() -> None:
    assert describe_clusters(_features(0, 1), np.array([-1, -1]), num_shown=3) == []


def test_outliers_are_shown_in_rows_spread_over_the_data() -> None:
    labels = np.full(20, -1)
    labels[3] = 0
    rows = outliers(labels, 2, 4)
    assert [(row.label, row.size, len(row.members)) for row in rows] == [(-1, 19, 4), (-1, 19, 4)]
    np.testing.assert_array_equal(np.concatenate([row.members for row in rows]), [0, 2, 5, 7, 9, 11, 13, 15])
    assert outliers(np.zeros(3, dtype=np.int64), 2, 4) == []
