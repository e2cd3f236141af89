import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline import reproduce as module
from pipeline.command import Options
from pipeline.reproduce import Expected, Figure, judge, reproduce, verdict_table
from pipeline.results import Outcome
from reid_core.errors import UserError

_MINE = """
- dataset: synthetic
  preset: tiny
  figures:
    - {encoder: joint, metric: mAP, value: 60.0, tolerance: 1.0}
    - {encoder: joint, metric: rank1, value: 90.0, tolerance: 1.0}
  source: two made-up seeds
"""


def _reproduce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank1: tuple[float, float]) -> tuple[bool, str]:
    """Compare two runs that end with known scores; what is run before is tested with the real pipeline."""
    (tmp_path / "mine.yaml").write_text(_MINE)
    outcomes = {
        seed: Outcome([], {"rows": [{"encoder": "joint", "mAP": mean_ap, "rank1": score}]})
        for seed, mean_ap, score in zip((0, 1), (59.0, 61.0), rank1, strict=True)
    }
    monkeypatch.setattr(module, "run_command", lambda options, console: outcomes)
    stream = io.StringIO()
    is_right = reproduce(Options(seeds=(0, 1)), tmp_path / "mine.yaml", Console(file=stream, width=120))
    return is_right, stream.getvalue()


def test_everything_as_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_right, printed = _reproduce(tmp_path, monkeypatch, (90.0, 91.0))
    assert is_right
    assert "60.0 ± 1.4" in printed
    assert "2 of 2 figures are within their tolerance" in printed
    assert "two made-up seeds" in printed


def test_one_figure_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_right, printed = _reproduce(tmp_path, monkeypatch, (70.0, 71.0))
    assert not is_right
    assert "LOWER" in printed
    assert "1 of 2 figures" in printed
    assert "HIGHER" in _reproduce(tmp_path, monkeypatch, (99.0, 99.0))[1]


def test_what_is_not_expected_is_said_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_command", lambda options, console: pytest.fail("it ran"))
    with pytest.raises(UserError, match="no figures are expected of synthetic with preset small"):
        reproduce(Options(preset="small"), None, Console())


def test_a_floor_is_shown_as_one() -> None:
    floor = Figure(encoder="joint", metric="mAP", value=30.0, tolerance=4.0, at_least=True)
    expected = Expected(dataset="msmt17", preset="paper", figures=(floor,), source="a test")
    stream = io.StringIO()
    Console(file=stream, width=100).print(verdict_table(expected, judge(expected, [[]])))
    assert "at least 26.0" in stream.getvalue()
    assert "not measured" in stream.getvalue()
