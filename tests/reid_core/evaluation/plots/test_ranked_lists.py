import numpy as np
import pytest
import torch

from reid_core.evaluation.plots import ranked_lists as module
from reid_core.evaluation.plots.ranked_lists import choose_queries, draw_ranked_lists, rank_and_list, ranked_lists
from reid_core.evaluation.ranking import Side, evaluate_ranking


def _side(degrees: list[float], people: list[int], cameras: list[int]) -> Side:
    radians = torch.deg2rad(torch.tensor(degrees))
    features = torch.stack([radians.cos(), radians.sin()], dim=1)
    return Side(features, torch.tensor(people), torch.tensor(cameras))


def test_lists_by_hand() -> None:
    query = _side([0, 90], [1, 2], [0, 0])
    gallery = _side([1, 5, 80, 120], [1, 1, 3, 2], [0, 1, 0, 0])
    found = ranked_lists(query, gallery, length=4)
    # Query 0 loses gallery 0 (same person and camera), query 1 loses gallery 3.
    np.testing.assert_array_equal(found.gallery, [[1, 2, 3, -1], [2, 1, 0, -1]])
    np.testing.assert_array_equal(found.match, [[True, False, False, False], [False] * 4])
    assert found.similarity[0, 0] == pytest.approx(np.cos(np.deg2rad(5)))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    query = _side(rng.uniform(0, 360, 9).tolist(), rng.integers(0, 3, 9).tolist(), rng.integers(0, 2, 9).tolist())
    gallery = _side(rng.uniform(0, 360, 30).tolist(), rng.integers(0, 3, 30).tolist(), rng.integers(0, 2, 30).tolist())
    whole = ranked_lists(query, gallery, length=5)
    monkeypatch.setattr(module, "_BLOCK_ENTRIES", 60)
    blocks = ranked_lists(query, gallery, length=5)
    np.testing.assert_array_equal(blocks.gallery, whole.gallery)
    np.testing.assert_array_equal(blocks.match, whole.match)


def test_measured_and_listed_in_one_pass() -> None:
    rng = np.random.default_rng(1)
    query = _side(rng.uniform(0, 360, 9).tolist(), rng.integers(0, 3, 9).tolist(), rng.integers(0, 2, 9).tolist())
    gallery = _side(rng.uniform(0, 360, 30).tolist(), rng.integers(0, 3, 30).tolist(), rng.integers(0, 2, 30).tolist())
    ranking, lists = rank_and_list(query, gallery, length=40)
    expected = evaluate_ranking(query, gallery)
    assert (ranking.mean_ap, ranking.cmc, ranking.mean_inp) == (expected.mean_ap, expected.cmc, expected.mean_inp)
    for found, alone in zip(lists, ranked_lists(query, gallery, length=40), strict=True):
        np.testing.assert_array_equal(found, alone)


def test_best_worst_and_random_queries_leave_skipped_ones_out() -> None:
    precision = np.array([0.5, np.nan, 0.9, 0.1, np.nan, 0.7])
    chosen = choose_queries(precision, 2, torch.Generator().manual_seed(0))
    assert chosen["best"] == [2, 5]
    assert chosen["worst"] == [3, 0]
    assert len(set(chosen["random"])) == 2
    assert not {1, 4} & set(chosen["random"])
    assert len(choose_queries(precision, 10, torch.Generator())["random"]) == 4


def test_a_true_match_is_green_and_a_stranger_is_not() -> None:
    images = torch.zeros(2, 3, 96, 48, dtype=torch.uint8)
    green = (0, 150, 60)

    def num_green(match: list[bool]) -> int:
        picture = draw_ranked_lists(
            images[:1],
            [images],
            match=np.array([match]),
            cameras=(np.array([0]), [np.array([1, 2])]),
            titles=["query"],
        )
        return sum(count for count, colour in picture.getcolors(1 << 20) or [] if colour == green)

    assert num_green([False, False]) == 0
    assert num_green([True, True]) > num_green([True, False]) > 500
