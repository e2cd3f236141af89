import numpy as np
import pytest

from reid_core.mesh.landmarks import MIRRORED, NUM_LANDMARKS, Array
from reid_core.mesh.orientation import HIPS, NOSE, SHOULDERS, fuse, read_azimuths, turned_to


def standing(azimuth_deg: float) -> Array:
    """World landmarks (right, down, away) of somebody who faces a direction: nose ahead, left side at the left."""
    world = np.zeros((NUM_LANDMARKS, 3))
    ahead, left = np.array([0.0, 0.0, -1.0]), np.array([1.0, 0.0, 0.0])  # of azimuth 0
    world[NOSE] = 0.1 * ahead
    for (one, other), width in ((SHOULDERS, 0.17), (HIPS, 0.1), ((7, 8), 0.07)):
        world[one], world[other] = width * left, -width * left
    angle = np.deg2rad(azimuth_deg)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    turned: Array = world @ turn.T
    return turned


def apart(first: Array | float, second: Array | float) -> Array:
    return np.abs((np.asarray(first) - second + 180) % 360 - 180)


@pytest.mark.parametrize("azimuth", range(-180, 180, 30))
def test_azimuths_are_read_as_the_camera_defines_them(azimuth: float) -> None:
    np.testing.assert_allclose(apart(read_azimuths(standing(azimuth)[None]), azimuth), 0.0, atol=1e-6)


def test_a_quarter_turn_by_hand() -> None:
    # 90 degrees: the person faces the image's right, so the nose is at the right and the left side is away.
    world = standing(90.0)
    assert world[NOSE, 0] == pytest.approx(0.1)
    assert world[SHOULDERS[0], 2] == pytest.approx(0.17)


def everything_known(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.ones((count, 4), dtype=np.bool_)


def test_agreeing_readings_are_kept() -> None:
    angles = np.arange(-180.0, 180.0, 45.0)
    found = fuse(np.repeat(angles[:, None], 4, axis=1), everything_known(8), np.zeros(8))
    # A side view may be a back view on its way to the front, so sides are drawn towards the back by a few degrees.
    assert apart(found.azimuth_deg, angles).max() < 8.0
    assert found.certainty.min() > 0.5


def test_a_front_reading_is_weaker_than_a_back_reading() -> None:
    readings = np.array([[0.0, 0.0, 180.0, 180.0], [180.0, 180.0, 0.0, 0.0]])
    found = fuse(readings, everything_known(2), np.zeros(2))
    np.testing.assert_allclose(apart(found.azimuth_deg, 180.0), 0.0, atol=3.0)


def test_the_head_decides_between_front_and_back() -> None:
    readings = np.repeat([[10.0, 0.0, -10.0, 0.0]], 3, axis=0)
    found = fuse(readings, everything_known(3), np.array([-4.0, 0.0, 4.0]))
    assert apart(found.azimuth_deg[0], 180.0) < 30.0
    assert apart(found.azimuth_deg[1], 0.0) < 5.0
    assert found.certainty[2] > found.certainty[1] > 0.3


def test_what_was_not_seen_does_not_count() -> None:
    known = np.array([[True, True, False, False]])
    found = fuse(np.array([[50.0, 50.0, -120.0, -120.0]]), known, np.zeros(1))
    alone = fuse(np.array([[50.0, 50.0, 50.0, 50.0]]), everything_known(1), np.zeros(1))
    np.testing.assert_allclose(found.azimuth_deg, alone.azimuth_deg)


def test_mirrored_readings_give_the_mirrored_azimuth() -> None:
    readings = np.array([[31.0, 71.0, 161.0, 20.0], [100.0, 140.0, 62.0, 91.0]])
    one, other = (fuse(sign * readings, everything_known(2), np.array([0.5, -1.0])) for sign in (1, -1))
    np.testing.assert_allclose(other.azimuth_deg, -one.azimuth_deg, atol=1e-6)
    np.testing.assert_allclose(other.certainty, one.certainty)


def test_people_do_not_depend_on_each_other() -> None:
    readings = np.random.default_rng(1).uniform(-180, 180, (5, 4))
    front = np.linspace(-2, 2, 5)
    together = fuse(readings, everything_known(5), front)
    alone = fuse(readings[3:4], everything_known(1), front[3:4])
    np.testing.assert_allclose(alone.azimuth_deg[0], together.azimuth_deg[3])


def test_front_and_back_confused_exchanges_the_sides_and_keeps_the_picture() -> None:
    world = standing(20.0)[None]
    turned, exchanged = turned_to(world, np.array([160.0]))
    assert exchanged.tolist() == [True]
    np.testing.assert_allclose(turned[0], world[0][MIRRORED] * (1.0, 1.0, -1.0), atol=1e-9)
    np.testing.assert_allclose(turned[0][MIRRORED][:, :2], world[0][:, :2], atol=1e-9)  # the same picture


def test_a_small_correction_turns_the_person() -> None:
    turned, exchanged = turned_to(standing(20.0)[None], np.array([35.0]))
    assert exchanged.tolist() == [False]
    np.testing.assert_allclose(turned[0], standing(35.0), atol=1e-9)
