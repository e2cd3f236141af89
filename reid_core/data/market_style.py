"""Data sets in the layout of Market-1501: three folders, and names like ``0002_c1s1_000451_03.jpg``."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from reid_core.data.images import SUFFIXES
from reid_core.errors import UserError

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
_NAME = re.compile(r"(-?\d{1,9})_c(\d{1,4})(?!\d)")


class Record(NamedTuple):
    """One image as its data set describes it.

    Attributes:
        split: ``train``, ``query`` or ``gallery``.
        path: File relative to the data set's root, with forward slashes.
        person_id: Identity as the data set numbers it, or None when unknown.
        camera_id: Camera from 0, or None when unknown.
    """

    split: str
    path: str
    person_id: int | None
    camera_id: int | None


def is_image_name(name: str) -> bool:
    """Tell whether a file name is a picture's; what macOS leaves beside files (``._name.jpg``) is not."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def has_market_layout(root: Path) -> bool:
    """Tell whether all three folders of Market-1501 lie in ``root``."""
    return all((root / folder).is_dir() for folder in FOLDERS.values())


def parse_name(name: str) -> tuple[int, int] | None:
    """Return person and camera (as written, from 1) of a file name, or None when it is no Market-style name."""
    found = _NAME.match(name)
    return (int(found[1]), int(found[2])) if found else None


def read_market_style(root: Path) -> list[Record]:
    """List the images of the three folders, sorted by path; junk (person -1) is left out, distractors (0) stay.

    A folder in which no name says person and camera holds images of unknown people.
    """
    records: list[Record] = []
    for split, folder in FOLDERS.items():
        paths = sorted(f"{folder}/{entry.name}" for entry in (root / folder).iterdir() if is_image_name(entry.name))
        records += records_by_name(split, paths, root)
    return records


def records_by_name(split: str, paths: Iterable[str], root: Path) -> list[Record]:
    """Describe images of one folder by their names: all of them say person and camera, or none does."""
    paths = list(paths)
    parsed = [parse_name(Path(path).name) for path in paths]
    nameless = [path for path, name in zip(paths, parsed, strict=True) if name is None]
    if len(nameless) == len(paths):
        return [Record(split, path, None, None) for path in paths]
    if nameless:
        raise UserError(
            f"{len(nameless)} of {len(paths)} names in {root / Path(paths[0]).parent} do not say person and camera "
            f"like 0002_c1s1_000451_03.jpg (first: {', '.join(nameless[:3])}); rename or remove them"
        )
    first_camera = min(1, *(name[1] for name in parsed if name))
    return [
        Record(split, path, name[0], name[1] - first_camera)
        for path, name in zip(paths, parsed, strict=True)
        if name and name[0] >= 0
    ]
