import numpy as np
import pytest

from reid_core.clustering.reliability import partition
from reid_core.evaluation.agreement import agreement, agreement_of_labels


def test_the_same_partition_under_other_names_is_perfect() -> None:
    assert agreement(np.array([1, 1, 0, 0]), np.array([5, 5, 9, 9])) == pytest.approx((1, 1, 1))


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


def test_purity_by_hand() -> None:
    # Cluster 0 holds three of one person and one stranger, cluster 1 is pure; the outlier is not counted.
    labels, people = np.array([0, 0, 0, 0, 1, 1, -1]), np.array([7, 7, 7, 8, 9, 9, 9])
    assert agreement(labels, people).purity == pytest.approx(5 / 6)
    assert agreement(np.full(7, -1), people).purity == 1


def test_labels_of_two_epochs_agree_whatever_their_numbers() -> None:
    one, other = np.array([0, 0, 1, 1, -1, -1]), np.array([1, 1, 0, 0, -1, -1])
    assert agreement_of_labels(one, other).ari == pytest.approx(1)
    # Outliers are strangers to each other in both: joining them is a disagreement.
    assert agreement_of_labels(one, np.array([1, 1, 0, 0, 2, 2])).ari < 1
    assert agreement_of_labels(one, other) == pytest.approx(agreement_of_labels(other, one))


def test_a_partition_names_every_outlier() -> None:
    np.testing.assert_array_equal(partition(np.array([1, -1, 0, -1])), [1, 2, 0, 3])
    np.testing.assert_array_equal(partition(np.array([-1, -1])), [0, 1])
