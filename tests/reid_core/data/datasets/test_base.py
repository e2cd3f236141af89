from pathlib import Path

import pytest

from reid_core.data.datasets.base import Counts, DatasetSpec, Record, SplitCount, count, count_splits, verify_counts
from reid_core.data.datasets.dukemtmc import DUKEMTMC
from reid_core.data.datasets.market1501 import MARKET1501
from reid_core.data.datasets.personx import PERSONX
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


@pytest.mark.parametrize("spec", [MARKET1501, DUKEMTMC, PERSONX], ids=lambda spec: spec.name)
def test_whole_copies_pass(spec: DatasetSpec) -> None:
    records = _records(spec.published["trainval"])
    assert count(records) == spec.published["trainval"]
    verify_counts(spec, "trainval", records, Path("data"))


def test_an_incomplete_copy_is_told_with_both_numbers() -> None:
    records = _records(MARKET1501.published["trainval"])[:-3]
    with pytest.raises(UserError, match=r"gallery 15,910 instead of 15,913 \(looked at image files in g, q, t\)"):
        verify_counts(MARKET1501, "trainval", records, Path("data"))


def test_sets_of_several_sizes_pass() -> None:
    verify_counts(PERSONX, "trainval", [], Path("data"))


def test_splits_counted_by_hand() -> None:
    records = [
        Record("train", "a", 0, 0),
        Record("train", "b", 1, 1),
        Record("gallery", "c", 0, 4),
        Record("gallery", "d", 7, 4),
        Record("gallery", "e", 7, 2),
    ]
    train, query = SplitCount("train", 2, 2, 0, 2), SplitCount("query", 0, 0, 0, 0)
    assert count_splits(records, distractors=[0]) == [train, query, SplitCount("gallery", 3, 1, 1, 2)]
    assert count_splits(records) == [train, query, SplitCount("gallery", 3, 2, 0, 2)], "person 0 is a person"
