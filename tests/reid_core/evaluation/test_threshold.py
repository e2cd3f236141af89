import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.errors import UserError
from reid_core.evaluation.ranking import Side
from reid_core.evaluation.threshold import (
    estimate_strangers,
    measure_thresholds,
    sampled_similarities,
    suggest_threshold,
)


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


def _people(num: int, images: int, *, noise: float, missing: float = 0.0) -> tuple[Tensor, Tensor, np.ndarray]:
    """Features of one query and several gallery images a person, and which pairs are one person."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(num, 32, generator=generator)

    def seen(which: Tensor) -> Tensor:
        return F.normalize(centres[which] + noise * torch.randn(len(which), 32, generator=generator), dim=1)

    query, gallery = torch.arange(num), torch.arange(round(num * (1 - missing))).repeat_interleave(images)
    return seen(query), seen(gallery), (query[:, None] == gallery).numpy()


def test_normal_strangers_are_estimated_rightly() -> None:
    # All strangers, around another middle for each query: the share expected of them is 1, wherever the line is.
    random = np.random.default_rng(0)
    similarity = random.normal(0, 0.08, (200, 500)) + random.uniform(0.2, 0.4, (200, 1))
    found = estimate_strangers(similarity)
    assert found is not None
    assert found.at(0.45) == pytest.approx(1, abs=0.08)
    assert found.at(0.55) == pytest.approx(1, abs=0.1)
    assert np.isnan(found.at(0.99))
    assert found.lowest(0.5) is None or found.lowest(0.5) > 0.6  # type: ignore[operator]


@pytest.mark.parametrize("missing", [0.0, 0.5])
@pytest.mark.parametrize(("images", "noise"), [(4, 0.6), (4, 0.9), (2, 0.9), (1, 0.7)])
def test_the_expected_share_of_strangers_is_no_lower_than_the_counted_one(
    images: int, noise: float, missing: float
) -> None:
    query, gallery, same = _people(100, images, noise=noise, missing=missing)
    similarity = sampled_similarities(query, gallery, np.full(100, -1))
    found = estimate_strangers(similarity)
    assert found is not None
    for threshold in (0.4, 0.5, 0.6, 0.7):
        reached = similarity >= threshold
        counted = 1 - same[reached].mean()
        assert counted - 0.02 <= found.at(threshold) <= counted + 0.4
    for wanted in (0.05, 0.2):
        lowest = found.lowest(wanted)
        assert lowest is not None or noise > 0.8
        assert lowest is None or 1 - same[similarity >= lowest].mean() <= wanted


def test_too_few_or_equal_images_give_no_estimate() -> None:
    assert estimate_strangers(np.random.default_rng(0).normal(size=(5, 19))) is None
    assert estimate_strangers(np.full((5, 30), 0.5)) is None


def test_a_large_gallery_is_sampled_without_the_query_itself() -> None:
    features = F.normalize(torch.randn(21_000, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    similarity = sampled_similarities(features, features, np.arange(21_000))
    assert similarity.shape == (500, 20_000)
    assert similarity.max() < 1 - 1e-7 or np.isneginf(similarity).sum() > 400
    assert np.isneginf(similarity).sum(axis=1).max() == 1


def test_the_labelled_curve_by_hand() -> None:
    # One query of person 1, camera 1. Angles 0 (itself, same camera: left out), 60 (person 1), 60 (person 2), 90 (2),
    # 0 (junk: left out), 30 (person 1).
    angles = torch.deg2rad(torch.tensor([0.0, 60, 60, 90, 0, 30]))
    gallery = Side(
        torch.stack([angles.cos(), angles.sin()], dim=1),
        torch.tensor([1, 1, 2, 2, -1, 1]),
        torch.tensor([1, 2, 1, 2, 2, 2]),
    )
    query = Side(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), torch.tensor([1]))
    curve = measure_thresholds(query, gallery)
    at = {round(float(value), 3): row for row, value in enumerate(curve.thresholds)}
    expected = {0.5: (2 / 3, 1, 0.5), 0.505: (1, 0.5, 0), -1.0: (0.5, 1, 1), 0.0: (0.5, 1, 1), 0.865: (1, 0.5, 0)}
    for threshold, values in expected.items():
        row = at[threshold]
        found = curve.precision[row], curve.recall[row], curve.false_match_rate[row]
        assert found == pytest.approx(values), threshold
    assert np.isnan(curve.precision[at[0.87]])
    with pytest.raises(UserError, match="no query has a picture of the same person under another camera"):
        measure_thresholds(query._replace(people=torch.tensor([7])), gallery)
