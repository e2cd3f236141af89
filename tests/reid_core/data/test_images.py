from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_core.data.images import as_float, as_uint8, decode, load_images
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
