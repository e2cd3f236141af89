import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from reid_core.errors import UserError
from reid_core.evaluation import ranking
from reid_core.evaluation.ranking import Side, cosine_blocks, evaluate_ranking, measure


def _angles(*degrees: float) -> torch.Tensor:
    """Unit vectors (N, 2): the nearer the angle, the nearer the image."""
    radians = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def _side(features: torch.Tensor, people: list[int], cameras: list[int]) -> Side:
    return Side(features, torch.tensor(people), torch.tensor(cameras))


def _random(rng: np.random.Generator, num: int, people: int, cameras: int) -> Side:
    features = rng.normal(size=(num, 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Side(
        torch.from_numpy(features.astype(np.float32)),
        torch.from_numpy(rng.integers(0, people, num)),
        torch.from_numpy(rng.integers(0, cameras, num)),
    )


def _random_with_ties(rng: np.random.Generator, num: int, people: int, cameras: int) -> Side:
    """Features of small whole numbers: scalar products are exact, and most are shared by several images."""
    return Side(
        torch.from_numpy(rng.integers(-2, 3, size=(num, 4)).astype(np.float32)),
        torch.from_numpy(rng.integers(-1, people, num)),  # -1 is junk; people of one side alone are distractors
        torch.from_numpy(rng.integers(0, cameras, num)),
    )


class _Scores(NamedTuple):
    precision: float
    first: int
    last: int
    num_matches: int


def _oracle(query: Side, gallery: Side, *, only_camera: int | None = None) -> list[_Scores | None]:
    """Score every query from the protocol's words, by sorting; None for a query without a true match."""
    results: list[_Scores | None] = []
    people, cameras = gallery.people.tolist(), gallery.cameras.tolist()
    for feature, person, camera in zip(query.features, query.people.tolist(), query.cameras.tolist(), strict=True):
        listed = []
        for g, other in enumerate(gallery.features):
            if people[g] == -1 or (people[g] == person and cameras[g] == camera):
                continue
            if only_camera is None or cameras[g] == only_camera:
                # Falling similarity; where two are equal, the stranger stands before the match.
                listed.append((-float(feature @ other), people[g] == person))
        hits = [rank for rank, (_, is_match) in enumerate(sorted(listed), start=1) if is_match]
        if not hits:
            results.append(None)
            continue
        precision = [number / rank for number, rank in enumerate(hits, start=1)]
        results.append(_Scores(sum(precision) / len(precision), hits[0], hits[-1], len(hits)))
    return results


def _assert_equals_oracle(query: Side, gallery: Side) -> None:
    expected = _oracle(query, gallery)
    counted = [scores for scores in expected if scores is not None]
    if not counted:
        with pytest.raises(UserError, match="has a gallery image of the same person from another camera"):
            evaluate_ranking(query, gallery)
        return
    found = evaluate_ranking(query, gallery)
    assert found.mean_ap == pytest.approx(np.mean([scores.precision for scores in counted]), abs=1e-9)
    assert found.mean_inp == pytest.approx(np.mean([s.num_matches / s.last for s in counted]), abs=1e-9)
    for rank in (1, 5, 10, 20):
        assert found.cmc[rank] == pytest.approx(np.mean([scores.first <= rank for scores in counted]), abs=1e-9)
    assert (found.num_queries, found.num_skipped) == (len(counted), len(expected) - len(counted))
    for row, scores in enumerate(expected):
        if scores is None:
            assert np.isnan(found.average_precision[row])
            assert np.isnan(found.first_match[row])
        else:
            assert found.average_precision[row] == pytest.approx(scores.precision, abs=1e-9)
            assert found.first_match[row] == scores.first


def test_one_query_by_hand() -> None:
    # Ranked by angle: same camera (left out), stranger, match, stranger, match: precision 1/2 and 2/4.
    query = _side(_angles(0), [7], [0])
    gallery = _side(_angles(1, 2, 3, 4, 5), [7, 1, 7, 0, 7], [0, 0, 1, 2, 2])
    found = evaluate_ranking(query, gallery)
    assert found.mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found.cmc == {1: 0.0, 5: 1.0, 10: 1.0, 20: 1.0}
    assert found.mean_inp == pytest.approx(2 / 4)
    assert (found.num_queries, found.num_skipped) == (1, 0)


@pytest.mark.parametrize("seed", range(40))
def test_against_the_slow_oracle(seed: int) -> None:
    """Ten cases a seed: with ties, junk, distractors, queries without a match; with one camera none is left."""
    rng = np.random.default_rng(seed)
    for case in range(10):
        num_cameras, num_people = int(rng.integers(1, 5)), int(rng.integers(1, 9))
        draw = _random_with_ties if case % 2 else _random
        query = draw(rng, int(rng.integers(1, 12)), num_people, num_cameras)
        gallery = draw(rng, int(rng.integers(1, 60)), num_people + int(rng.integers(0, 3)), num_cameras)
        _assert_equals_oracle(query, gallery)


@pytest.mark.parametrize("seed", range(6))
def test_camera_pairs_against_the_slow_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    draw = _random_with_ties if seed % 2 else _random
    query, gallery = draw(rng, 20, 5, 3), draw(rng, 60, 6, 3)
    pairs = {(pair.query_camera, pair.gallery_camera): pair for pair in evaluate_ranking(query, gallery).camera_pairs}
    for gallery_camera in range(3):
        scores = _oracle(query, gallery, only_camera=gallery_camera)
        for query_camera in range(3):
            rows = (query.cameras == query_camera).nonzero().flatten().tolist()
            counted = [found for row in rows if (found := scores[row]) is not None]
            if not counted:
                assert (query_camera, gallery_camera) not in pairs
                continue
            pair = pairs[query_camera, gallery_camera]
            assert pair.num_queries == len(counted)
            assert pair.mean_ap == pytest.approx(np.mean([found.precision for found in counted]), abs=1e-9)
            assert pair.rank1 == pytest.approx(np.mean([found.first == 1 for found in counted]), abs=1e-9)
    assert all(first != second for first, second in pairs), "a camera is never asked about its own images"


def test_equals_scikit_learn_without_ties() -> None:
    rng = np.random.default_rng(1)
    query, gallery = _random(rng, 40, 5, 2), _random(rng, 100, 5, 2)
    found = evaluate_ranking(query, gallery)
    for row in range(40):
        same = gallery.people == query.people[row]
        listed = ~(same & (gallery.cameras == query.cameras[row]))
        scores = gallery.features @ query.features[row]
        expected = average_precision_score(same[listed].numpy(), scores[listed].numpy())
        assert found.average_precision[row] == pytest.approx(expected, abs=1e-9)


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    query, gallery = _random(rng, 25, 6, 2), _random(rng, 60, 6, 2)
    whole = evaluate_ranking(query, gallery)
    monkeypatch.setattr(ranking, "_BLOCK_ENTRIES", 60 * 4)
    blocks = evaluate_ranking(query, gallery)
    np.testing.assert_allclose(blocks.average_precision, whole.average_precision)
    assert blocks.cmc == whole.cmc


def test_queries_without_a_match_in_another_camera_are_skipped_and_counted() -> None:
    query = _side(_angles(0, 0, 0), [1, 2, 3], [0, 0, 0])
    gallery = _side(_angles(1, 2), [1, 2], [1, 0])
    found = evaluate_ranking(query, gallery)
    assert (found.num_queries, found.num_skipped) == (1, 2)
    assert found.mean_ap == 1
    assert [math.isnan(value) for value in found.average_precision] == [False, True, True]


def test_distractors_stay() -> None:
    query = _side(_angles(0), [1], [0])
    gallery = _side(_angles(1, 2), [0, 1], [0, 1])
    assert evaluate_ranking(query, gallery).mean_ap == 0.5


def test_junk_counts_for_nothing() -> None:
    query = _side(_angles(0), [1], [0])
    gallery = _side(_angles(1, 2, 3), [-1, 1, 2], [1, 1, 1])
    assert evaluate_ranking(query, gallery).mean_ap == 1
    with pytest.raises(AssertionError, match="drop the junk"):
        measure(cosine_blocks(query.features, gallery.features), query, gallery)


def test_features_that_are_no_numbers_are_refused() -> None:
    query, broken = _side(_angles(0), [1], [0]), _side(_angles(1, 2), [1, 2], [1, 1])
    broken.features[1, 0] = float("nan")
    with pytest.raises(UserError, match="the features of the gallery images hold NaN or infinity"):
        evaluate_ranking(query, broken)


def test_a_collapsed_encoder_gets_the_worst_figures() -> None:
    # Everything in one point: 1 match among 10 is counted as the last, not as the first.
    query = _side(_angles(0), [1], [0])
    gallery = _side(_angles(*[0] * 10), [1] + [2] * 9, [1] * 10)
    found = evaluate_ranking(query, gallery)
    assert found.mean_ap == pytest.approx(1 / 10)
    assert found.cmc[1] == 0


def test_a_nearer_match_never_hurts() -> None:
    query = _side(_angles(0), [1], [0])
    values = [
        evaluate_ranking(query, _side(_angles(angle, 10, 20, 30), [1, 2, 1, 2], [1] * 4)).mean_ap
        for angle in (40, 25, 15, 5)
    ]
    assert values == sorted(values)


def test_refuses_when_no_query_counts() -> None:
    query = _side(_angles(0, 1), [1, 2], [0, 0])
    with pytest.raises(UserError, match="none of the 2 queries"):
        evaluate_ranking(query, _side(_angles(0), [1], [0]))
    with pytest.raises(UserError, match="at least one query and one gallery image"):
        evaluate_ranking(query, Side(torch.zeros(0, 2), torch.zeros(0).long(), torch.zeros(0).long()))
