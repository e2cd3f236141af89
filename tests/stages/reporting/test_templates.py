import pytest
from jinja2 import UndefinedError

from stages.reporting.page import render
from stages.reporting.results import Table


def test_parts_are_found_and_values_escaped() -> None:
    table = Table(("<a>", "b"), (("1", "2"),), (1, 2))
    values = {"title": "<i>t</i>", "runs": [], "table": table, "settings": None, "sections": [], "shown": 0}
    page = render("comparison.html.j2", **values)
    assert "&lt;a&gt;" in page
    assert "<i>" not in page
    assert "--series-8" in page, "the style sheet is part of the page"


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("comparison.html.j2", title="t")
