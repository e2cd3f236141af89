import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline import reproduce as module
from pipeline.command import Options
from pipeline.reproduce import Expected, Figure, Verdict, find_expected, judge, read_expected, reproduce, verdict_table
from pipeline.results import Outcome
from reid_core.errors import UserError

_FIGURE = Figure(encoder="joint", metric="mAP", value=80.0, tolerance=2.0)


@pytest.mark.parametrize(("score", "holds"), [(78.0, True), (77.9, False), (82.04, True), (82.1, False), (77.96, True)])
def test_a_tolerance_by_hand(score: float, holds: bool) -> None:
    assert _FIGURE.holds(score) is holds


def test_more_is_right_where_a_floor_is_expected() -> None:
    floor = _FIGURE.model_copy(update={"at_least": True})
    assert floor.holds(99.0)
    assert not floor.holds(77.0)


def test_the_mean_over_seeds_is_judged() -> None:
    expected = Expected(dataset="synthetic", preset="tiny", figures=(_FIGURE,), source="a test")
    rows = [[{"encoder": "joint", "mAP": score}, {"encoder": "identity", "mAP": 1.0}] for score in (77.0, 81.0)]
    [verdict] = judge(expected, rows)
    assert verdict == Verdict(_FIGURE, (77.0, 81.0))
    assert verdict.mean == 79.0
    assert verdict.is_right


def test_what_was_not_measured_is_not_right() -> None:
    expected = Expected(dataset="synthetic", preset="tiny", figures=(_FIGURE,), source="a test")
    row: dict[str, object] = {"encoder": "joint", "mAP": None}
    cases: list[list[list[dict[str, object]]]] = [[[]], [[row]], [[{**row, "mAP": 80.0}], []]]
    for rows in cases:
        [verdict] = judge(expected, rows)
        assert not verdict.is_right


def test_the_figures_of_the_project_are_there_with_their_source() -> None:
    known = read_expected(None)
    assert {(one.dataset, one.preset) for one in known} >= {("synthetic", "tiny"), ("msmt17", "paper")}
    found = find_expected(known, "MSMT17", "paper")
    assert "ISE" in found.source
    with pytest.raises(UserError, match="no figures are expected of personx with preset paper"):
        find_expected(known, "personx", "paper")


@pytest.mark.parametrize(
    "text", ["[", "- {dataset: a}", "joint: 3", "- {dataset: a, preset: b, figures: [], source: c}"]
)
def test_a_file_that_holds_none_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=r"does not hold expected figures|is not valid"):
        read_expected(tmp_path / "mine.yaml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_expected(tmp_path / "missing.yaml")


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
