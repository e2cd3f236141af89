import numpy as np
import pytest

from reid_core.mesh.landmarks import LOOK_PIXELS, NUM_LANDMARKS, Look, Picture, Square
from reid_core.mesh.observe import colour_change, front_evidence

SKIN, HAIR = (225, 180, 150), (40, 30, 25)


def head(*, face: bool) -> tuple[Picture, Look]:
    """A picture of 200 x 100 with a head of hair, or of hair over a face, on gray; and a perfect look at it."""
    picture = np.full((200, 100, 3), 120, dtype=np.uint8)
    rows, columns = np.arange(200)[:, None], np.arange(100)[None]
    round_head = ((rows - 24) / 15) ** 2 + ((columns - 50) / 11) ** 2 < 1
    body = (rows >= 36) & (rows < 190) & (np.abs(columns - 50) < 22)
    picture[round_head] = HAIR
    if face:
        picture[round_head & (rows > 19)] = SKIN
    picture[body] = (60, 80, 140)
    mask = np.zeros((LOOK_PIXELS, LOOK_PIXELS), dtype=np.float32)
    cells = np.arange(LOOK_PIXELS) / LOOK_PIXELS * 200
    person = round_head | body
    mask[:] = np.pad(person, ((0, 0), (50, 50)))[cells.astype(int)[:, None], cells.astype(int)[None]]
    points = np.zeros((NUM_LANDMARKS, 2))
    points[:11] = (50, 26)
    points[11:13] = (50, 42)
    points[13:] = (50, 188)
    look = Look(points, np.zeros((NUM_LANDMARKS, 3)), np.ones(NUM_LANDMARKS), 1.0, mask, Square(50, 100, 200))
    return picture, look


def test_a_face_under_hair_changes_colour_and_the_back_of_a_head_does_not() -> None:
    assert colour_change(*head(face=False)) == pytest.approx(np.log(2.0), abs=0.3)
    assert colour_change(*head(face=True)) > 3.0


def test_evidence_is_higher_for_a_face() -> None:
    front, back = (front_evidence(*head(face=face), num_threads=1) for face in (True, False))
    assert front > back + 2.0


def test_a_mirrored_head_changes_as_much() -> None:
    picture, look = head(face=True)
    points = look.points * (-1, 1) + (100, 0)
    mirrored = look._replace(points=points, mask=np.ascontiguousarray(look.mask[:, ::-1]))
    assert colour_change(np.ascontiguousarray(picture[:, ::-1]), mirrored) == pytest.approx(
        colour_change(picture, look), abs=0.05
    )


def test_a_head_outside_of_the_picture_says_nothing() -> None:
    picture, look = head(face=True)
    away = look._replace(points=look.points - (0, 500))
    nowhere = colour_change(picture, away)
    assert nowhere == colour_change(np.zeros_like(picture), away)
