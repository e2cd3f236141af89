import numpy as np
import pytest

from reid_core.evaluation.ranking_kernel import group_gallery, score_block


def test_groups_by_hand() -> None:
    gallery = group_gallery(np.array([2, 0, 2]), np.array([0, 1, 1]), num_people=3, num_cameras=2)
    assert gallery.start.tolist() == [0, 1, 1, 3]
    assert gallery.members.tolist() == [1, 0, 2]


def test_one_row_by_hand() -> None:
    # Person 0 in camera 0 asks; falling: stranger (c1), match (c1), stranger (c2), match (c2), stranger (c1).
    people, cameras = np.array([1, 0, 1, 0, 1]), np.array([1, 1, 2, 2, 1])
    gallery = group_gallery(people, cameras, num_people=2, num_cameras=3)
    similarity = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]], dtype=np.float32)
    found = score_block(similarity, np.array([0]), np.array([0]), gallery, num_threads=1)
    np.testing.assert_allclose(found.precision, [[(1 / 2 + 2 / 4) / 2, np.nan, 1 / 2, 1 / 2]])
    np.testing.assert_allclose(found.first, [[2, np.nan, 2, 2]])
    assert (found.last.tolist(), found.num_matches.tolist()) == ([4], [2])


@pytest.mark.parametrize("spread", [1.0, 1e-6, 0.0, 1e-38])
def test_close_and_equal_similarities_are_told_apart(spread: float) -> None:
    """The table that replaces a search must be exact for any scale, down to neighbouring floats and to ties."""
    rng = np.random.default_rng(0)
    people = rng.integers(0, 3, 400)
    gallery = group_gallery(people, np.ones(400, dtype=int), num_people=3, num_cameras=2)
    offset = 0.0 if spread < 1e-30 else 0.5
    similarity = (offset + spread * rng.normal(size=(5, 400))).astype(np.float32)
    found = score_block(similarity, np.zeros(5, dtype=int), np.zeros(5, dtype=int), gallery, num_threads=2)
    for row in range(5):
        order = np.lexsort((people == 0, -similarity[row]))  # strangers first among equals
        ranks = np.flatnonzero(people[order] == 0) + 1
        assert found.precision[row, 0] == pytest.approx(np.mean(np.arange(1, len(ranks) + 1) / ranks), abs=1e-12)
        assert (found.first[row, 0], found.last[row]) == (ranks[0], ranks[-1])


def test_the_number_of_threads_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    gallery = group_gallery(rng.integers(0, 4, 50), rng.integers(0, 3, 50), num_people=4, num_cameras=3)
    similarity = rng.normal(size=(11, 50)).astype(np.float32)
    labels = (rng.integers(0, 4, 11), rng.integers(0, 3, 11))
    one, many = (score_block(similarity, *labels, gallery, num_threads=threads) for threads in (1, 30))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_refuses_a_block_of_another_width() -> None:
    gallery = group_gallery(np.array([0]), np.array([0]), num_people=1, num_cameras=1)
    with pytest.raises(AssertionError):
        score_block(np.zeros((1, 2), np.float32), np.array([0]), np.array([0]), gallery, num_threads=1)
