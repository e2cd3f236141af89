import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_core.data.images import (
    as_float,
    as_uint8,
    decode,
    is_whole,
    load_images,
    map_decoded,
    refuse_many_unreadable,
    verify_image,
    write_decoded,
)
from reid_core.errors import UserError


def _save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def test_bytes_and_floats_by_hand() -> None:
    stored = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(as_float(stored), torch.tensor([-1.0, -0.6, 1.0]))
    assert as_uint8(torch.tensor([-3.0, -0.6, 1.2])).tolist() == [0, 51, 255]


def test_every_byte_survives_the_way_there_and_back() -> None:
    stored = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_uint8(as_float(stored)), stored)


def test_refuses_the_other_form() -> None:
    with pytest.raises(AssertionError):
        as_float(torch.zeros(1))
    with pytest.raises(AssertionError):
        as_uint8(torch.zeros(1, dtype=torch.uint8))


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", np.full((4, 2, 3), (255, 128, 0), dtype=np.uint8))
    images = load_images([path, path], (8, 6))
    assert images.shape == (2, 3, 8, 6)
    assert images.dtype == torch.uint8
    assert images[0, :, 0, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    _save(path, array, mode)
    assert load_images([path], (16, 8)).shape == (1, 3, 16, 8)


def test_sixteen_bits_keep_their_greys(tmp_path: Path) -> None:
    # Pillow's own conversion cuts off at 255 and leaves a white picture.
    gray = (np.arange(20 * 10).reshape(20, 10) * 300).astype(np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(gray).save(tmp_path / name)
        pixels = np.asarray(decode(tmp_path / name))
        np.testing.assert_allclose(pixels[..., 1], gray / 257, atol=0.51)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_fewer_bits_in_sixteen_keep_their_brightness(tmp_path: Path, bits: int) -> None:
    grey = np.linspace(0, 1, 20 * 10).reshape(20, 10)
    for name in ("a.png", "a.tif"):
        Image.fromarray((grey * (2**bits - 1)).round().astype(np.uint16)).save(tmp_path / name)
        np.testing.assert_allclose(np.asarray(decode(tmp_path / name))[..., 0], 255 * grey, atol=1)


@pytest.mark.parametrize("white", [1.0, 255.0, 4095.0, 65535.0])
def test_floats_keep_their_brightness(tmp_path: Path, white: float) -> None:
    grey = np.linspace(0, 1, 20 * 10).reshape(20, 10)
    Image.fromarray((white * grey).astype(np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_allclose(np.asarray(decode(tmp_path / "a.tif"))[..., 2], 255 * grey, atol=1)


@pytest.mark.parametrize("number", [-1.0, np.nan, np.inf, 1e6])
def test_numbers_of_an_unknown_range_are_refused(tmp_path: Path, number: float) -> None:
    grey = np.full((20, 10), 0.5, dtype=np.float32)
    grey[3, 3] = number
    Image.fromarray(grey).save(tmp_path / "a.tif")
    problem = verify_image(tmp_path / "a.tif").problem
    assert "wanted 0 to 1, or 8 to 16 bits" in problem


def _write_colours(path: Path, colours: np.ndarray) -> Path:
    """Write a PNG of 16 bits a colour, (H, W, 3), which Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, _ = colours.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    heading = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + heading + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


def test_colours_of_twelve_bits_in_sixteen_are_refused_and_not_read_as_black(tmp_path: Path) -> None:
    colours = np.linspace(0, 1, 20 * 10 * 3).reshape(20, 10, 3)
    whole = _write_colours(tmp_path / "whole.png", 65535 * colours)
    np.testing.assert_allclose(np.asarray(decode(whole)), 255 * colours, atol=1.1)
    for bits in (8, 12, 14):
        dark = _write_colours(tmp_path / "dark.png", (2**bits - 1) * colours)
        assert "as if fewer bits were used" in verify_image(dark).problem


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    pixels = np.full((8, 4, 4), (200, 10, 10, 255), dtype=np.uint8)
    pixels[:4, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    shown = np.asarray(decode(tmp_path / "a.png"))
    assert shown[0, 0].tolist() == [255, 255, 255]
    assert shown[7, 3].tolist() == [200, 10, 10]


def test_threads_keep_the_order(tmp_path: Path) -> None:
    paths = [_save(tmp_path / f"{i}.png", np.full((8, 4, 3), i, dtype=np.uint8)) for i in range(20)]
    images = load_images(paths, (8, 4), num_threads=4)
    assert images[:, 0, 0, 0].tolist() == list(range(20))
    assert torch.equal(images, load_images(paths, (8, 4)))


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((10, 20, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    assert decode(tmp_path / "a.jpg").size == (10, 20)


def test_a_picture_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg"):
        load_images([tmp_path / "gone.jpg"], (8, 4))


def test_no_file_starts_an_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(OSError, match="cannot identify"):
        decode(path)


def _photograph(path: Path, height: int = 32, width: int = 16) -> Path:
    array = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(array).save(path)
    return path


def test_a_whole_image_passes(tmp_path: Path) -> None:
    assert verify_image(_photograph(tmp_path / "a.jpg")) == (16, 32, "")


def test_each_kind_of_damage_has_its_reason(tmp_path: Path) -> None:
    whole = _photograph(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.jpg").touch()
    _photograph(tmp_path / "dot.png", 1, 1)
    (tmp_path / "folder.jpg").mkdir()
    reasons = {path.name: verify_image(path).problem for path in tmp_path.iterdir()}
    assert reasons["whole.jpg"] == ""
    assert "truncated" in reasons["truncated.jpg"].lower()
    assert "no picture format" in reasons["text.jpg"]
    assert reasons["empty.jpg"] == "the file is empty"
    assert reasons["dot.png"] == "it has only 1 x 1 pixels"
    assert "cannot be decoded" in reasons["folder.jpg"]
    assert verify_image(tmp_path / "gone.jpg").problem == "the file does not exist"


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif", "gif"])
def test_no_damaged_byte_escapes_as_an_exception(tmp_path: Path, suffix: str) -> None:
    whole = _photograph(tmp_path / f"whole.{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    for case in range(40):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for position in rng.integers(0, len(damaged), size=case % 8):
            damaged[position] = rng.integers(0, 256)
        path = tmp_path / f"damaged.{suffix}"
        path.write_bytes(damaged)
        verdict = verify_image(path)
        assert bool(verdict.problem) == (verdict.width == 0)


def test_a_name_that_no_table_can_hold(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))
    assert verify_image(path).problem == "its name is not valid UTF-8"


def test_up_to_five_percent_is_tolerated() -> None:
    refuse_many_unreadable(["a: x"] * 5, 100, Path("data"))
    with pytest.raises(UserError, match=r"6 of 100 images in data cannot be read, more than 5% \(first: a: x"):
        refuse_many_unreadable(["a: x"] * 6, 100, Path("data"))


SIZE = (6, 4)
COUNT = 9


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    draws = np.random.default_rng(0)
    files = [tmp_path / f"{row}.png" for row in range(COUNT)]
    for file in files:
        Image.fromarray(draws.integers(0, 256, (12, 8, 3), dtype=np.uint8)).save(file)
    return files


def test_parts_written_in_any_order_are_the_pictures(paths: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "pixels.bin"
    write_decoded(file, paths, range(5, COUNT), SIZE, num_threads=2)
    write_decoded(file, paths, range(0, 5), SIZE)
    assert is_whole(file, COUNT, SIZE)
    mapped = map_decoded(file, COUNT, SIZE)
    assert mapped.dtype == torch.uint8
    assert torch.equal(mapped, load_images(paths, SIZE))


def test_more_pictures_than_a_block(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_core.data.images._BLOCK", 2)
    write_decoded(tmp_path / "pixels.bin", paths, range(COUNT), SIZE)
    assert torch.equal(map_decoded(tmp_path / "pixels.bin", COUNT, SIZE), load_images(paths, SIZE))


def test_a_file_cut_short_or_missing_is_not_whole(paths: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "pixels.bin"
    assert not is_whole(file, COUNT, SIZE)
    write_decoded(file, paths, range(0, COUNT - 1), SIZE)
    assert not is_whole(file, COUNT, SIZE)
    write_decoded(file, paths, range(COUNT - 1, COUNT), SIZE)
    assert is_whole(file, COUNT, SIZE)
    assert not is_whole(file, COUNT + 1, SIZE)


def test_writing_to_what_is_mapped_leaves_the_file_alone(paths: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "pixels.bin"
    write_decoded(file, paths, range(COUNT), SIZE)
    before = file.read_bytes()
    map_decoded(file, COUNT, SIZE).zero_()
    assert file.read_bytes() == before


def test_a_picture_that_is_gone_is_one_sentence(paths: list[Path], tmp_path: Path) -> None:
    paths[3].unlink()
    with pytest.raises(UserError, match=r"3\.png was a readable picture"):
        write_decoded(tmp_path / "pixels.bin", paths, range(COUNT), SIZE)
