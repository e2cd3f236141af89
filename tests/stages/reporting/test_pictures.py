import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.reporting import pictures
from stages.reporting.pictures import caption_for, picture


def save(path: Path, height: int, width: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_small_picture_is_embedded_as_it_is_and_shown_twice_as_large(tmp_path: Path) -> None:
    path = save(tmp_path / "generator-grid.png", 20, 40)
    shown = picture("generator", path, kind="generator-grid")
    assert shown.source == "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    assert (shown.width, shown.wide, shown.title, shown.problem) == (80, True, "What the generator makes", "")


def test_a_large_picture_becomes_a_smaller_jpeg(tmp_path: Path) -> None:
    path = save(tmp_path / "ranked.png", 300, 2600)
    shown = picture("evaluate", path, kind="ranked")
    kind, _, content = shown.source.partition(";base64,")
    assert kind == "data:image/jpeg"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert image.size == (2400, 277)


@pytest.mark.parametrize("content", [b"", b"words", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_a_broken_picture_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    shown = picture("mesh", path, kind="guidance")
    assert shown.source == ""
    assert shown.problem.startswith("broken.png could not be read")


def test_a_picture_that_claims_too_much_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGEST_PIXELS", 100)
    assert (
        picture("mesh", save(tmp_path / "big.png", 11, 10), kind="guidance").problem
        == "big.png is too large to be shown"
    )


def test_captions_say_what_to_look_for() -> None:
    assert "ghost" in caption_for("mixing-grid")[1]
    assert caption_for("ranked-lists-worst")[0] == "Ranked lists of the worst queries"
    assert caption_for("clusters-most-mixed")[0] == "The most mixed clusters"
    assert caption_for("something_new") == ("Something new", "")
