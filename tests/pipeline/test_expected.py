from pathlib import Path

import pytest

from pipeline.reproduce import Expected, Figure, Verdict, find_expected, judge, read_expected
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
    with pytest.raises(UserError, match="does not hold expected figures"):
        read_expected(tmp_path / "mine.yaml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_expected(tmp_path / "missing.yaml")
