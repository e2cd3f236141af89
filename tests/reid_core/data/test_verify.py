import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid_core.data.verify import refuse_many_unreadable, verify_image
from reid_core.errors import UserError


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
