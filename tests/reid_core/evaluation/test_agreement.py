import numpy as np
import pytest

from reid_core.evaluation.agreement import agreement


def test_the_same_partition_under_other_names_is_perfect() -> None:
    assert agreement(np.array([1, 1, 0, 0]), np.array([5, 5, 9, 9])) == pytest.approx((1, 1))


def test_adjusted_rand_by_hand() -> None:
    # Labels {a b c} {d}, people {a b} {c d}: pairs together in both 1, expected 3 * 2 / 6 = 1, so 0.
    assert agreement(np.array([0, 0, 0, 1]), np.array([1, 1, 2, 2])).ari == pytest.approx(0)


def test_outliers_are_strangers_to_each_other() -> None:
    people = np.array([1, 1, 2, 2, 3, 3])
    labels = np.array([0, 0, 1, 1, -1, -1])
    found = agreement(labels, people)
    assert found == pytest.approx(agreement(np.array([0, 0, 1, 1, 2, 3]), people))
    assert 0 < found.ari < 1
    assert (labels == [0, 0, 1, 1, -1, -1]).all(), "the input is left alone"


def test_only_outliers_agree_with_nothing() -> None:
    assert agreement(np.full(6, -1), np.array([1, 1, 2, 2, 3, 3])).ari == pytest.approx(0)
