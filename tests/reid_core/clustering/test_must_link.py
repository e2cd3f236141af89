import numpy as np
import pytest

from reid_core.clustering.must_link import link_tracklets


def _linked(labels: list[int], tracklets: list[int]) -> list[int]:
    result: list[int] = link_tracklets(np.array(labels), np.array(tracklets)).tolist()
    return result


@pytest.mark.parametrize(
    ("labels", "tracklets", "expected"),
    [
        ([0, 0, 1, 1, -1], [-1, -1, -1, -1, -1], [0, 0, 1, 1, -1]),  # nothing is known
        ([0, 0, 1, 1, -1], [-1, 7, 7, -1, -1], [0, 0, 0, 0, -1]),  # two clusters share a tracklet
        ([0, 0, 1, 1, -1], [-1, -1, -1, 3, 3], [0, 0, 1, 1, 1]),  # an outlier joins
        ([-1, 0, 0, -1, -1], [5, -1, -1, 5, -1], [0, 1, 1, 0, -1]),  # a tracklet of outliers alone
        ([-1, -1], [4, -1], [-1, -1]),  # one image is no tracklet
        ([0, 1, 2, -1], [0, 0, -1, 0], [0, 0, 1, 0]),  # cluster 2 takes the free number
        ([], [], []),
    ],
)
def test_by_hand(labels: list[int], tracklets: list[int], expected: list[int]) -> None:
    assert _linked(labels, tracklets) == expected


def test_outliers_alone_stay_outliers_where_no_new_cluster_is_wanted() -> None:
    labels, tracklets = np.array([-1, 0, 0, -1, -1]), np.array([5, 6, -1, 5, 6])
    assert link_tracklets(labels, tracklets, new_clusters=False).tolist() == [-1, 0, 0, -1, 0]


def test_every_tracklet_is_whole_and_no_cluster_is_torn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels, tracklets = rng.integers(-1, 12, 80), rng.integers(-1, 30, 80)
        labels = np.unique(labels, return_inverse=True)[1] - 1  # without gaps
        linked = link_tracklets(labels, tracklets)
        for groups, least in ((labels, 1), (tracklets, 2)):
            for group in set(groups.tolist()) - {-1}:
                found = linked[groups == group]
                assert len(set(found.tolist())) == 1
                assert found[0] >= 0 or (groups == group).sum() < least
        assert set(linked.tolist()) - {-1} == set(range(linked.max() + 1))
