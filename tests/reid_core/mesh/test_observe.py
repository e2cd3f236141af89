import numpy as np

from reid_core.mesh.landmarks import Picture
from reid_core.mesh.observe import LONGEST_SEARCHED, observe, shrunk
from tests.reid_core.mesh.people import person

PICTURE = person(8).pictures[2]


def test_a_crop_is_looked_at_twice() -> None:
    seen = observe(PICTURE, num_threads=1)
    assert seen is not None
    assert len(seen.looks) == 2
    assert seen.presence > 0.8
    # The second look saw the mirrored picture and was turned back: both say the same of the left shoulder.
    assert np.abs(seen.looks[0].points[11] - seen.looks[1].points[11]).max() < 0.05 * PICTURE.shape[0]


def test_a_person_small_in_a_photograph_is_searched_for() -> None:
    height, width = PICTURE.shape[:2]
    frame: Picture = np.pad(PICTURE, ((60, 60), (90, 200), (0, 0)), mode="edge")
    seen = observe(frame, num_threads=1)
    assert seen is not None
    hips = seen.looks[0].points[23:25].mean(axis=0)
    assert abs(hips[0] - (90 + width / 2)) < 0.3 * width
    assert abs(hips[1] - (60 + height / 2)) < 0.2 * height


def test_of_several_people_the_central_one_is_taken() -> None:
    width = PICTURE.shape[1]
    group: Picture = np.concatenate([PICTURE, person(8).pictures[3], PICTURE], axis=1)
    seen = observe(group, num_threads=1)
    assert seen is not None
    hips = seen.looks[0].points[23:25, 0].mean() * group.shape[1] / seen.width
    assert width < hips < 2 * width


def test_nobody_is_none() -> None:
    assert observe(np.full((100, 50, 3), 90, dtype=np.uint8), num_threads=1) is None
    assert observe(np.zeros((1, 1, 3), dtype=np.uint8), num_threads=1) is None


def test_huge_pictures_are_shrunk_and_keep_their_shape() -> None:
    assert shrunk(np.zeros((4000, 1000, 3), dtype=np.uint8)).shape == (LONGEST_SEARCHED, LONGEST_SEARCHED // 4, 3)
    assert shrunk(np.zeros((20_000, 2, 3), dtype=np.uint8)).shape == (LONGEST_SEARCHED, 1, 3)
    small = np.zeros((30, 20, 3), dtype=np.uint8)
    assert shrunk(small) is small
