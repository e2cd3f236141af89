import math
import re
from xml.etree import ElementTree

from stages.reporting.curves import COLOURS, curves, draw, is_number, series_of, spoken


def test_series_by_hand() -> None:
    rows: list[dict[str, float]] = [
        {"epoch": 0, "loss": 2.0, "seconds": 5},
        {"epoch": 1, "loss": math.nan},
        {"loss": 9.0},
        {"epoch": 2, "loss": 1},
    ]
    assert series_of(rows) == {"loss": {0.0: 2.0, 2.0: 1.0}}


def test_an_epoch_run_again_counts_once_with_its_last_value() -> None:
    assert series_of([{"epoch": 0, "loss": 2.0}, {"epoch": 0, "loss": 3.0}]) == {"loss": {0.0: 3.0}}


def test_numbers_are_finite_and_no_truth_values() -> None:
    assert [is_number(value) for value in (1, 2.5, True, math.inf, math.nan, "1", None)] == [True, True, *[False] * 5]


def test_what_is_read_together_is_drawn_together_and_first() -> None:
    history = [{"epoch": 0, "images_per_second": 9.0, "contrast": 1.0, "num_outliers": 3, "num_clusters": 4}]
    drawn = curves(history, [{"epoch": 0, "mAP": 20.0}])
    assert [curve.title for curve in drawn] == [
        "Retrieval while training, %",
        "Clusters and outliers",
        "contrast",
        "Speed, images a second",
    ]


def test_nothing_measured_is_nothing_drawn() -> None:
    assert curves([], [{"epoch": 0, "note": "words"}]) == ()


def test_the_picture_takes_its_colours_from_the_page() -> None:
    svg = draw("loss", {"loss": {0.0: 1.0, 1.0: 0.5}, "other": {0.0: 2.0}}).svg
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert not any(colour in svg for colour in COLOURS)
    assert {"var(--series-1)", "var(--series-2)", "var(--muted)"} <= set(re.findall(r"var\(--[a-z0-9-]+\)", svg))
    assert ">epoch</text>" in svg


def test_identifiers_of_two_pictures_differ() -> None:
    values = {"loss": {0.0: 1.0, 1.0: 0.5}}
    first, second = (set(re.findall(r'clipPath id="([^"]+)"', draw(title, values).svg)) for title in ("a", "b"))
    assert first
    assert not first & second


def test_the_note_says_first_and_last_value() -> None:
    assert spoken({"num_clusters": {3.0: 7.0, 0.0: 12.5}}) == "clusters from 12.5 to 7"


def test_a_line_without_values_keeps_its_colour_free() -> None:
    svg = draw("mAP", {"one": {}, "two": {0.0: 1.0, 1.0: 2.0}}, legend=False).svg
    assert "var(--series-2)" in svg
    assert "var(--series-1)" not in svg
    assert ">two</text>" not in svg
