"""The published sizes of the benchmark data sets: an incomplete copy is found before any work."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reid_core.data.datasets.market_style import Record
from reid_core.errors import UserError


class Counts(NamedTuple):
    """Images, people and cameras of a data set; distractors (person 0 in the gallery) count as images only."""

    train: int
    query: int
    gallery: int
    train_people: int
    query_people: int
    cameras: int


PUBLISHED = {
    ("market1501", "trainval"): Counts(12_936, 3_368, 15_913, 751, 750, 6),
    ("dukemtmc-reid", "trainval"): Counts(16_522, 2_228, 17_661, 702, 702, 8),
    ("msmt17", "trainval"): Counts(32_621, 11_659, 82_161, 1_041, 3_060, 15),
    ("msmt17", "train"): Counts(30_248, 11_659, 82_161, 1_041, 3_060, 15),
}


# PersonX has no published table. The edition that domain adaptation uses, with these numbers of images, is described in
# the data loaders of SpCL and of TLlib (1,266 people: 410 to train and 856 to test, six cameras); its other editions
# differ in size, so that no copy is refused.
PERSONX = Counts(9_840, 5_136, 30_816, 410, 856, 6)


class SplitCount(NamedTuple):
    """One split in numbers.

    Attributes:
        split: ``train``, ``query`` or ``gallery``.
        images: How many.
        people: Different known identities, distractors left out.
        distractors: Images of person 0.
        cameras: Different known cameras.
    """

    split: str
    images: int
    people: int
    distractors: int
    cameras: int


def by_split(records: Sequence[Record]) -> list[SplitCount]:
    """Count every split by itself."""
    rows = []
    for split in ("train", "query", "gallery"):
        chosen = [record for record in records if record.split == split]
        people = {record.person_id for record in chosen} - {None}
        is_distractor = split == "gallery"
        rows.append(
            SplitCount(
                split,
                len(chosen),
                len(people - {0}) if is_distractor else len(people),
                sum(record.person_id == 0 for record in chosen) if is_distractor else 0,
                len({record.camera_id for record in chosen} - {None}),
            )
        )
    return rows


def edition_of(records: Sequence[Record]) -> tuple[str, str]:
    """Name the edition of PersonX by its size, and say so when it is none that is known."""
    found = count(records)
    if found == PERSONX:
        return "PersonX, six cameras, 1,266 people", ""
    return (
        f"PersonX of {sum(found[:3]):,} images",
        "the number of images of this edition of PersonX cannot be verified: nobody publishes it",
    )


def count(records: Sequence[Record]) -> Counts:
    """Count images by split, people of train and query, and cameras."""
    sizes = {split: sum(record.split == split for record in records) for split in ("train", "query", "gallery")}
    people = {
        split: len({record.person_id for record in records if record.split == split and record.person_id is not None})
        for split in ("train", "query")
    }
    cameras = len({record.camera_id for record in records if record.camera_id is not None})
    return Counts(sizes["train"], sizes["query"], sizes["gallery"], people["train"], people["query"], cameras)


def verify_counts(name: str, train_split: str, records: Sequence[Record], root: Path) -> None:
    """Compare a benchmark with its published size; data sets without a published size pass."""
    expected = PUBLISHED.get((name, train_split))
    if expected is None:
        return
    found = count(records)
    wrong = [
        f"{field.replace('_', ' ')} {getattr(found, field):,} instead of {getattr(expected, field):,}"
        for field in Counts._fields
        if getattr(found, field) != getattr(expected, field)
    ]
    if wrong:
        folders = sorted({record.path.split("/")[0] for record in records})
        raise UserError(
            f"{root} is not the whole {name}: {'; '.join(wrong)} (looked at image files in {', '.join(folders)}); "
            "unpack the archive again, or use DATASET=folder to train on what is there"
        )
