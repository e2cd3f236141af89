from pathlib import Path

import pytest

from reid_core.data.datasets.base import (
    PERSONX,
    PUBLISHED,
    Counts,
    SplitCount,
    by_split,
    count,
    edition_of,
    verify_counts,
)
from reid_core.data.datasets.market_style import Record
from reid_core.errors import UserError


def _records(size: Counts) -> list[Record]:
    """Make up records with the wanted numbers of images, people and cameras."""
    train = [Record("train", f"t/{i}", 1 + i % size.train_people, i % size.cameras) for i in range(size.train)]
    query = [Record("query", f"q/{i}", 5000 + i % size.query_people, i % size.cameras) for i in range(size.query)]
    gallery = [Record("gallery", f"g/{i}", 5000 + i % size.query_people, 0) for i in range(size.gallery)]
    return train + query + gallery


def test_counted_by_hand() -> None:
    records = [
        Record("train", "a", 1, 0),
        Record("train", "b", 1, 1),
        Record("train", "c", None, None),
        Record("query", "d", 2, 4),
        Record("gallery", "e", 0, 4),
    ]
    assert count(records) == Counts(3, 1, 1, 1, 1, 3)


@pytest.mark.parametrize("key", [("market1501", "trainval"), ("dukemtmc-reid", "trainval")])
def test_whole_copies_pass(key: tuple[str, str]) -> None:
    records = _records(PUBLISHED[key])
    assert count(records) == PUBLISHED[key]
    verify_counts(*key, records, Path("data"))


def test_an_incomplete_copy_is_told_with_both_numbers() -> None:
    records = _records(PUBLISHED["market1501", "trainval"])[:-3]
    with pytest.raises(UserError, match=r"gallery 15,910 instead of 15,913 \(looked at image files in g, q, t\)"):
        verify_counts("market1501", "trainval", records, Path("data"))


def test_sets_without_a_published_size_pass() -> None:
    assert ("personx", "trainval") not in PUBLISHED
    verify_counts("personx", "trainval", [], Path("data"))


def test_splits_counted_by_hand() -> None:
    records = [
        Record("train", "a", 0, 0),
        Record("train", "b", 1, 1),
        Record("gallery", "c", 0, 4),
        Record("gallery", "d", 7, 4),
        Record("gallery", "e", 7, 2),
    ]
    assert by_split(records) == [
        SplitCount("train", 2, 2, 0, 2),
        SplitCount("query", 0, 0, 0, 0),
        SplitCount("gallery", 3, 1, 1, 2),
    ]


def test_the_editions_of_personx() -> None:
    assert edition_of(_records(PERSONX)) == ("PersonX, six cameras, 1,266 people", "")
    version, note = edition_of(_records(PERSONX)[:-6])
    assert version == "PersonX of 45,786 images"
    assert "cannot be verified" in note
