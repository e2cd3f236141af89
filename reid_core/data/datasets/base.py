"""The description of a data set, the images that it lists, and how they are counted.

How to add one: docs/guide/add_a_data_set.md.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from reid_core.errors import UserError

SPLITS = ("train", "query", "gallery")
# Market-1501 (0002_c1s1_000451_03) and, by the letters after the camera, MARS and DukeMTMC-VideoReID (0001C1T0001F001).
MARKET_NAME = re.compile(r"0*(?P<person>-?\d{1,9})(?:_c|c(?=\d+[tf]\d+[fx]\d))(?P<camera>\d{1,4})(?!\d)", re.IGNORECASE)


class Record(NamedTuple):
    """One image as its data set describes it.

    Attributes:
        split: ``train``, ``query`` or ``gallery``.
        path: File relative to the data set's root, with forward slashes.
        person_id: Identity as the data set numbers it, or None when unknown.
        camera_id: Camera from 0, or None when unknown.
        tracklet_id: Images of one number are known to show one person, whoever that is; None when nothing is known.
    """

    split: str
    path: str
    person_id: int | None
    camera_id: int | None
    tracklet_id: int | None = None


class Counts(NamedTuple):
    """Images, people and cameras of a data set; the people of the gallery are not counted."""

    train: int
    query: int
    gallery: int
    train_people: int
    query_people: int
    cameras: int


class SplitCount(NamedTuple):
    """One split in numbers.

    Attributes:
        split: ``train``, ``query`` or ``gallery``.
        images: Number of images.
        people: Different known identities, distractors left out.
        distractors: Images of distractors.
        cameras: Different known cameras.
    """

    split: str
    images: int
    people: int
    distractors: int
    cameras: int


@dataclass(frozen=True)
class Layout:
    """One way in which a data set is passed around.

    Attributes:
        name: Said to people and recorded with the results.
        folders: Folder of each part: ``train``, ``query``, ``gallery``, and ``val`` where validation is apart.
        lists: List file of each part, a path and a person a line; empty where the images' names say the person.
        image_name: Pattern that an image's name begins with. Its groups ``camera`` and, without lists, ``person`` are
            numbers; a negative person is junk (nobody, or half a person), which is left out.
        example: A name, or with lists a line, that fits; said where one does not.
    """

    name: str
    folders: Mapping[str, str]
    lists: Mapping[str, str] = field(default_factory=dict)
    image_name: re.Pattern[str] = MARKET_NAME
    example: str = "0002_c1s1_000451_03.jpg"

    @property
    def entries(self) -> tuple[str, ...]:
        """Files and folders that all have to be there."""
        return tuple(dict.fromkeys([*self.folders.values(), *self.lists.values()]))


MARKET_FOLDERS = Layout(
    "Market-1501 folders", {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
)


@dataclass(frozen=True)
class Naming:
    """How own photographs say person and camera, where their names are not like Market-1501's.

    Attributes:
        camera_from: name, or folder: every folder directly below the data set's (or below train, query or gallery) is a
            camera.
        pattern: Regular expression with groups person, camera or tracklet, looked for in the file's name, or in the
            path below the data set's folder where it holds a slash; empty: names like Market-1501's.
        table: CSV or Parquet file with the columns path, and camera, person, tracklet or split where known.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    camera_from: Literal["name", "folder"] = "name"
    pattern: str = ""
    table: Path | None = None


class Listing(NamedTuple):
    """What a folder of own photographs holds.

    Attributes:
        layout: Name of its layout.
        root: Folder that the records' paths are relative to.
        records: Its images.
        notes: Remarks for the user.
    """

    layout: str
    root: Path
    records: list[Record]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetSpec:
    """All that genvar knows of a data set.

    Attributes:
        name: Of the setting ``data.dataset``.
        title: As its authors write it.
        aliases: Other names; folders whose names begin with one of them are looked into. Case and punctuation of names
            do not matter.
        layouts: Ways in which it is passed around.
        read: Reads a folder of any layout; only such a data set takes a ``Naming``.
        version: Its edition, where only one is known.
        find_version: Names the edition that lies in a folder, where several are known.
        distractors: Person numbers that stand for nobody in particular: in the gallery they are to be told from the
            people, and are not counted among them.
        published: Its size with all training images (``trainval``) and, where it has a validation part, without that
            (``train``).
        accepts_other_sizes: Whether a copy of another size is used, with a remark, instead of refused.
        terms: On which its images may be used.
        note: What every user should be told once.
    """

    name: str
    title: str
    aliases: tuple[str, ...] = ()
    layouts: tuple[Layout, ...] = (MARKET_FOLDERS,)
    read: Callable[[Path, Naming], Listing] | None = None
    version: str = ""
    find_version: Callable[[Path], str] | None = None
    distractors: tuple[int, ...] = ()
    published: Mapping[str, Counts] = field(default_factory=dict)
    accepts_other_sizes: bool = False
    terms: str = ""
    note: str = ""

    @property
    def has_validation(self) -> bool:
        """Whether training images can be told from validation images."""
        return any("val" in layout.folders for layout in self.layouts)


class Dataset(NamedTuple):
    """A data set on disk.

    Attributes:
        name: Of its ``DatasetSpec``.
        version: Edition that lies there.
        layout: Name of its layout.
        root: Absolute folder that the records' paths are relative to.
        records: Its images: train, query and gallery in this order, each sorted by path.
        notes: Remarks for the user.
        distractors: Person numbers that stand for nobody in particular.
    """

    name: str
    version: str
    layout: str
    root: Path
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()
    distractors: tuple[int, ...] = ()


def count(records: Sequence[Record]) -> Counts:
    """Count images by split, people of train and query, and cameras."""
    train, query, gallery = count_splits(records)
    cameras = len({record.camera_id for record in records} - {None})
    return Counts(train.images, query.images, gallery.images, train.people, query.people, cameras)


def count_splits(records: Sequence[Record], distractors: Sequence[int] = ()) -> list[SplitCount]:
    """Count train, query and gallery by themselves; only the gallery has distractors."""
    counted = []
    for split in SPLITS:
        chosen = [record for record in records if record.split == split]
        apart = set(distractors) if split == "gallery" else set()
        people = {record.person_id for record in chosen} - {None} - apart
        num_distractors = sum(record.person_id in apart for record in chosen)
        cameras = {record.camera_id for record in chosen} - {None}
        counted.append(SplitCount(split, len(chosen), len(people), num_distractors, len(cameras)))
    return counted


def why_not_ranked(records: Sequence[Record]) -> str | None:
    """Return one sentence on why retrieval cannot be measured with these images, or None when it can."""
    query, gallery = ([record for record in records if record.split == split] for split in ("query", "gallery"))
    missing = [name for name, side in (("query", query), ("gallery", gallery)) if not side]
    if missing:
        return f"the data set has no {' and no '.join(missing)} images with known people."
    if any(record.person_id is None or record.camera_id is None for record in (*query, *gallery)):
        return "the names of the query and gallery images do not say person and camera."
    cameras: dict[int | None, set[int | None]] = {}
    for record in gallery:
        cameras.setdefault(record.person_id, set()).add(record.camera_id)
    # A query counts where its person was seen by another camera too; junk is nobody.
    if any(cameras.get(one.person_id, set()) - {one.camera_id} for one in query if (one.person_id or 0) >= 0):
        return None
    return (
        f"none of the {len(query):,} queries has a gallery image of the same person from another camera; evaluation "
        "needs people seen by at least two cameras."
    )


def verify_counts(spec: DatasetSpec, train_split: str, records: Sequence[Record], root: Path) -> None:
    """Raise a UserError when a benchmark has another size than the published one."""
    expected = spec.published.get(train_split)
    if expected is None or spec.accepts_other_sizes:
        return
    counted = count(records)
    wrong = [
        f"{name.replace('_', ' ')} {getattr(counted, name):,} instead of {getattr(expected, name):,}"
        for name in Counts._fields
        if getattr(counted, name) != getattr(expected, name)
    ]
    if wrong:
        folders = sorted({record.path.split("/")[0] for record in records})
        raise UserError(
            f"{root} is not the whole {spec.name}: {'; '.join(wrong)} (looked at image files in {', '.join(folders)}); "
            "unpack the archive again, or use DATASET=folder to train on what is there"
        )
