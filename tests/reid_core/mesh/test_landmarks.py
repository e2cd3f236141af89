import subprocess
import sys

import numpy as np
import pytest

from reid_core.mesh.landmarks import (
    MIRRORED,
    NUM_LANDMARKS,
    POSE_PIXELS,
    Picture,
    Square,
    cut,
    face_score,
    find_person,
    look_at,
)
from tests.reid_core.mesh.people import person

PICTURE = person(8).pictures[2]
HEIGHT, WIDTH = PICTURE.shape[:2]
WHOLE = Square(WIDTH / 2, HEIGHT / 2, 1.15 * HEIGHT)


def test_landmarks_lie_on_the_person() -> None:
    seen = look_at(PICTURE, WHOLE, mirrored=False, num_threads=1)
    assert seen is not None
    assert seen.points.shape == (NUM_LANDMARKS, 2)
    assert seen.presence > 0.8
    nose, hips, ankles = seen.points[0], seen.points[23:25].mean(axis=0), seen.points[27:29].mean(axis=0)
    # Rendered people fill 90 to 99 % of their pictures.
    assert nose[1] < 0.2 * HEIGHT < hips[1] < 0.65 * HEIGHT < 0.8 * HEIGHT < ankles[1] < HEIGHT
    assert seen.mask.shape == (POSE_PIXELS, POSE_PIXELS)
    assert 0.05 < (seen.mask > 0.5).mean() < 0.5
    assert np.abs(seen.world[23:25].mean(axis=0)).max() < 0.05  # metres from the middle of the hips


def test_a_mirrored_look_at_the_mirrored_picture_is_the_mirrored_look() -> None:
    flipped: Picture = np.ascontiguousarray(PICTURE[:, ::-1])
    one = look_at(PICTURE, WHOLE, mirrored=False, num_threads=1)
    other = look_at(flipped, WHOLE, mirrored=True, num_threads=1)
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(other.points[MIRRORED][:, 0], WIDTH - one.points[:, 0], atol=0.05)
    np.testing.assert_allclose(other.points[MIRRORED][:, 1], one.points[:, 1], atol=0.05)
    np.testing.assert_allclose(other.world[MIRRORED] * (-1, 1, 1), one.world, atol=1e-3)
    np.testing.assert_allclose(other.mask[:, ::-1], one.mask, atol=0.02)


def test_the_same_picture_gives_the_same_bytes() -> None:
    first, second = (look_at(PICTURE, WHOLE, mirrored=False, num_threads=1) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.points.tobytes() == second.points.tobytes()
    assert first.mask.tobytes() == second.mask.tobytes()


def test_nobody_is_seen_in_a_gray_wall() -> None:
    gray = np.full((120, 60, 3), 128, dtype=np.uint8)
    assert look_at(gray, Square(30, 60, 140), mirrored=False, num_threads=1) is None
    assert find_person(gray, Square(30, 60, 120), num_threads=1) is None
    assert face_score(gray, Square(30, 20, 120), reach=0.1, num_threads=1) < 0.3


def test_the_detector_aims_at_the_person() -> None:
    frame = np.pad(PICTURE, ((40, 40), (60, 140), (0, 0)), mode="edge")
    found = find_person(frame, Square(frame.shape[1] / 2, frame.shape[0] / 2, frame.shape[1]), num_threads=1)
    assert found is not None
    assert abs(found.center_x - (60 + WIDTH / 2)) < 0.3 * WIDTH
    assert abs(found.center_y - (40 + HEIGHT / 2)) < 0.2 * HEIGHT
    assert 0.7 * HEIGHT < found.side < 2.0 * HEIGHT


def test_cut_by_hand() -> None:
    # Columns 0 and 255; the square reaches one pixel over the left border, where the edge goes on.
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    picture[:, 1] = 255
    np.testing.assert_array_equal(cut(picture, Square(1.0, 1.0, 2.0), 2)[..., 0], [[0, 255], [0, 255]])
    np.testing.assert_array_equal(cut(picture, Square(0.0, 1.0, 2.0), 2)[..., 0], [[0, 0], [0, 0]])
    np.testing.assert_array_equal(cut(picture, Square(3.0, 1.0, 2.0), 2)[..., 0], [[255, 255], [255, 255]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 2)])
def test_any_shape_can_be_cut(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 7, dtype=np.uint8)
    square = Square(shape[1] / 2, shape[0] / 2, 1.15 * max(shape))
    assert (cut(picture, square, 32) == 7).all()


def test_mirrored_pairs_are_each_others() -> None:
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(NUM_LANDMARKS))
    assert [int(MIRRORED[number]) for number in (0, 7, 11, 24, 31)] == [0, 8, 12, 23, 32]


def test_nothing_is_written_to_standard_error_and_few_threads_run() -> None:
    # In a process of its own: the notes come when graphs start, and threads of other tests would be counted.
    code = (
        "import numpy as np, os\n"
        "from reid_core.mesh.landmarks import Square, look_at\n"
        "before = len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 0\n"
        "for _ in range(2):\n"
        "    look_at(np.zeros((64, 32, 3), np.uint8), Square(16, 32, 70), mirrored=False, num_threads=1)\n"
        "after = len(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 0\n"
        "print(after - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert run.stderr == ""
    assert int(run.stdout) <= 8
