from pathlib import Path

import pytest

from reid_core.data.datasets.layouts import LISTS_V1, MARKET, Candidate, choose, look_into
from reid_core.errors import UserError


def test_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "query").mkdir()
    (tmp_path / "bounding_box_test").mkdir()
    (tmp_path / "list_train.txt").mkdir()  # a folder is no list
    market, lists = look_into(tmp_path, (MARKET, LISTS_V1))
    assert market.missing == ("bounding_box_train",)
    assert market.present == ("query", "bounding_box_test")
    assert market.is_partial
    assert lists.present == ()
    assert not lists.is_partial


def test_the_whole_one_is_chosen_before_a_partial_one() -> None:
    whole = Candidate(Path("a"), MARKET, ())
    partial = Candidate(Path("b"), LISTS_V1, ("train",))
    assert choose("msmt17", [partial, whole], "nothing") == whole


def test_nothing_two_folders_two_layouts_and_a_gap_each_have_a_sentence() -> None:
    with pytest.raises(UserError, match="nothing there"):
        choose("msmt17", [Candidate(Path("a"), MARKET, MARKET.entries)], "nothing there")
    with pytest.raises(UserError, match="found more than once"):
        choose("msmt17", [Candidate(Path("a"), MARKET, ()), Candidate(Path("b"), MARKET, ())], "")
    with pytest.raises(UserError, match="a mixes the layouts"):
        choose("msmt17", [Candidate(Path("a"), MARKET, ()), Candidate(Path("a"), LISTS_V1, ())], "")
    with pytest.raises(UserError, match="has bounding_box_train, bounding_box_test but not query"):
        choose("market1501", [Candidate(Path("a"), MARKET, ("query",))], "")
