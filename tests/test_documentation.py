"""The Python of the documents runs as it is printed there."""

import contextlib
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest

from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import plan_shards, render_shard

ROOT = Path(__file__).resolve().parent.parent
# 80 pedestrians of PETS 2009, cut from the sample video of Debian's package opencv-doc.
REAL_CROPS = Path(os.environ.get("GENVAR_PHOTOS", ROOT / "data" / "real_crops"))
_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_FIGURE = re.compile(r"-?\d+\.\d+")


def python_of(page: str) -> list[tuple[str, str]]:
    """Return every block of Python and what the page says that it prints."""
    return [(found[1], found[2] or "") for found in _BLOCK.finditer(page)]


def run_and_compare(blocks: list[tuple[str, str]]) -> None:
    """Run blocks one after the other; figures with a decimal point may differ by 1 in the last of two places."""
    names: dict[str, object] = {}
    for code, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "documentation", "exec"), names)
        assert _words(printed.getvalue()) == _words(expected), printed.getvalue()
        np.testing.assert_allclose(_figures(printed.getvalue()), _figures(expected), atol=0.011)


def _figures(text: str) -> list[float]:
    return [float(figure) for figure in _FIGURE.findall(text)]


def _words(text: str) -> list[str]:
    return _FIGURE.sub("#", text).split()


def test_the_guide_to_python_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SyntheticSettings(num_train_people=1, num_test_people=6, images_per_person=8, num_cameras=2)
    for shard in plan_shards(settings, tmp_path):
        render_shard(shard)
    (tmp_path / "images").rename(tmp_path / "people")
    monkeypatch.chdir(tmp_path)
    blocks = python_of((ROOT / "docs" / "guide" / "python.md").read_text())
    assert len(blocks) == 5
    run_and_compare(blocks)


def test_the_python_of_the_readme_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = python_of((ROOT / "README.md").read_text())
    assert blocks, "the README shows Python"
    if not REAL_CROPS.is_dir():
        pytest.skip(f"the photographs of the README are not in {REAL_CROPS}; name their folder with GENVAR_PHOTOS")
    (tmp_path / "photos").symlink_to(REAL_CROPS)
    monkeypatch.chdir(tmp_path)
    run_and_compare(blocks)


def test_the_comparison_sees_a_difference() -> None:
    run_and_compare([("print('mAP', 0.25)", "mAP 0.26")])
    for other in ("mAP 0.28", "map 0.25", "mAP 0.25 0.25"):
        with pytest.raises(AssertionError):
            run_and_compare([("print('mAP', 0.25)", other)])
