from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid_core.mesh import observe as photograph
from reid_core.mesh.landmarks import NUM_LANDMARKS, POSE_PIXELS, Look, Picture, Square
from reid_core.mesh.observe import (
    LONGEST_SEARCHED,
    LONGEST_SIDE,
    colour_change,
    front_evidence,
    observe,
    open_photograph,
    shrunk,
)
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
    mask = np.zeros((POSE_PIXELS, POSE_PIXELS), dtype=np.float32)
    cells = np.arange(POSE_PIXELS) / POSE_PIXELS * 200
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


PIXELS = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)


def test_a_crop_stays_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    opened = open_photograph(tmp_path / "a.png")
    assert opened is not None
    assert np.array_equal(opened, PIXELS)
    assert opened.flags.writeable


def test_broken_files_are_no_pictures(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"GIF89a", whole[2:]):
        (tmp_path / "a.jpg").write_bytes(content)
        assert open_photograph(tmp_path / "a.jpg") is None
    assert open_photograph(tmp_path / "nowhere.jpg") is None


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGBA"), ("a.tif", "CMYK"), ("a.jpg", "CMYK"), ("a.png", "P"), ("a.png", "LA"), ("a.bmp", "1")],
)
def test_every_mode_is_rgb(tmp_path: Path, name: str, mode: str) -> None:
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / name)
    opened = open_photograph(tmp_path / name)
    assert opened is not None
    assert opened.shape == (64, 32, 3)
    assert opened.dtype == np.dtype(np.uint8)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    gray = PIXELS[..., 0].astype(np.uint16) * 257
    Image.fromarray(gray).save(tmp_path / "a.png")
    opened = open_photograph(tmp_path / "a.png")
    assert opened is not None
    assert np.array_equal(opened[..., 0], PIXELS[..., 0])


def test_of_an_animation_the_first_picture_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 64), colour) for colour in ("red", "blue")]
    for name in ("a.webp", "a.gif", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        opened = open_photograph(tmp_path / name)
        assert opened is not None
        assert opened[5, 5, 0] > 200


def test_large_pictures_are_opened_small(tmp_path: Path) -> None:
    tall = Image.new("RGB", (100, 20_000), "green")
    for name in ("a.png", "a.jpg"):
        tall.save(tmp_path / name)
        opened = open_photograph(tmp_path / name)
        assert opened is not None
        assert max(opened.shape) <= LONGEST_SIDE
        assert opened[0, 0, 1] > 100
    Image.new("RGB", (1, 1)).save(tmp_path / "b.png")
    opened = open_photograph(tmp_path / "b.png")
    assert opened is not None
    assert opened.shape == (1, 1, 3)


def test_what_would_not_fit_into_memory_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A PNG of a few hundred kilobytes that would take 1.2 GB.
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 1_000_000
    assert open_photograph(tmp_path / "bomb.png") is None
    monkeypatch.setattr(photograph, "MOST_PIXELS", 2_000_000)
    Image.new("RGB", (1500, 3000)).save(tmp_path / "large.jpg")  # four and a half megapixels, decoded at half size
    assert open_photograph(tmp_path / "large.jpg") is not None
