import numpy as np
import pytest

from reid_core.evaluation.threshold import suggest_threshold


def _lists(num_matches: int, rng: np.random.Generator, *, apart: float) -> np.ndarray:
    """Ten nearest images of 100 queries: matches around ``apart`` above strangers, who lie around 0.3."""
    strangers = rng.normal(0.3, 0.05, size=(100, 10 - num_matches))
    return np.concatenate([rng.normal(0.3 + apart, 0.05, size=(100, num_matches)), strangers], axis=1)


@pytest.mark.parametrize("num_matches", [1, 3, 5, 8])
def test_two_groups_are_parted(num_matches: int) -> None:
    found = suggest_threshold(_lists(num_matches, np.random.default_rng(0), apart=0.5))
    assert 0.42 < found.threshold < 0.68
    assert found.has_gap
    assert found.valley < 0.1


def test_otsu_by_hand() -> None:
    # Values 0 (12 times) and 1 (8 times): the variance between groups is largest anywhere between; the middle is taken.
    found = suggest_threshold(np.array([[0.0] * 12 + [1.0] * 8]))
    assert found.threshold == pytest.approx(0.5)
    assert found.has_gap


@pytest.mark.parametrize("seed", range(5))
def test_one_group_has_no_gap(seed: int) -> None:
    assert not suggest_threshold(np.random.default_rng(seed).normal(0.4, 0.1, size=(200, 10))).has_gap


def test_the_gap_closes_as_groups_come_together() -> None:
    rng = np.random.default_rng(1)
    valleys = [suggest_threshold(_lists(4, rng, apart=apart)).valley for apart in (0.5, 0.25, 0.2, 0.05)]
    assert valleys == sorted(valleys)


def test_order_and_missing_entries_do_not_matter() -> None:
    lists = _lists(3, np.random.default_rng(2), apart=0.4)
    padded = np.concatenate([lists[::-1], np.full((100, 2), -np.inf), np.full((100, 1), np.nan)], axis=1)
    assert suggest_threshold(padded) == pytest.approx(suggest_threshold(lists))


def test_too_little_to_say() -> None:
    assert suggest_threshold(np.array([[0.2, 0.9]])) == (0.9, 1.0)
    assert suggest_threshold(np.full((5, 10), 0.5)) == (0.5, 1.0)
    with pytest.raises(AssertionError, match="no similarity"):
        suggest_threshold(np.array([[np.nan]]))
