from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid_core.mesh import observe as photograph
from reid_core.mesh.observe import LONGEST_SIDE, open_photograph

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
