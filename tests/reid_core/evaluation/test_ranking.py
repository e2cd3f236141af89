import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from reid_core.errors import UserError
from reid_core.evaluation import ranking
from reid_core.evaluation.ranking import Side, evaluate_ranking


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


def _oracle(query: Side, gallery: Side) -> list[tuple[float, int, float]]:
    """Average precision, first rank and inverse negative penalty of every counted query, one by one."""
    results = []
    for feature, person, camera in zip(*query, strict=True):
        similarity = (gallery.features @ feature).tolist()
        people, cameras = gallery.people.tolist(), gallery.cameras.tolist()
        listed = [g for g in range(len(people)) if not (people[g] == person and cameras[g] == camera)]
        listed.sort(key=lambda g: -similarity[g])
        hits = [rank for rank, g in enumerate(listed, start=1) if people[g] == person]
        if hits:
            precision = [number / rank for number, rank in enumerate(hits, start=1)]
            results.append((sum(precision) / len(precision), hits[0], len(hits) / hits[-1]))
    return results


def test_one_query_by_hand() -> None:
    # Ranked by angle: same camera (left out), stranger, match, stranger, match: precision 1/2 and 2/4.
    query = _side(_angles(0), [7], [0])
    gallery = _side(_angles(1, 2, 3, 4, 5), [7, 1, 7, 0, 7], [0, 0, 1, 2, 2])
    found = evaluate_ranking(query, gallery)
    assert found.mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found.cmc == {1: 0.0, 5: 1.0, 10: 1.0, 20: 1.0}
    assert found.mean_inp == pytest.approx(2 / 4)
    assert (found.num_queries, found.num_skipped) == (1, 0)


@pytest.mark.parametrize("seed", range(20))
def test_against_the_slow_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, gallery = _random(rng, 30, 9, 3), _random(rng, 80, 9, 3)
    found = evaluate_ranking(query, gallery)
    expected = np.array(_oracle(query, gallery))
    assert found.mean_ap == pytest.approx(expected[:, 0].mean(), abs=1e-9)
    assert found.mean_inp == pytest.approx(expected[:, 2].mean(), abs=1e-9)
    for rank in (1, 5, 10, 20):
        assert found.cmc[rank] == pytest.approx((expected[:, 1] <= rank).mean())
    assert found.num_queries == len(expected)
    assert found.num_skipped == 30 - len(expected)


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
        evaluate_ranking(query, Side(torch.zeros(0, 2), torch.zeros(0), torch.zeros(0)))
