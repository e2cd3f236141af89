"""Data sets in the layout of Market-1501: three folders, and names like ``0002_c1s1_000451_03.jpg``."""

import re
from collections.abc import Iterable, Sequence
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


def parse_name(name: str) -> tuple[int, int] | None:
    """Return person and camera (as written, from 1) of a file name, or None when it is no Market-style name."""
    found = _NAME.match(name)
    return (int(found[1]), int(found[2])) if found else None


def read_market_style(root: Path) -> list[Record]:
    """List the images of the three folders, sorted by path; junk (person -1) is left out, distractors (0) stay.

    A folder in which no name says person and camera holds images of unknown people.
    """
    paths = {
        split: sorted(f"{folder}/{entry.name}" for entry in (root / folder).iterdir() if is_image_name(entry.name))
        for split, folder in FOLDERS.items()
    }
    # Over all splits: one of them may lack the first camera.
    first_camera = _first_camera(path for listed in paths.values() for path in listed)
    return [
        record
        for split, listed in paths.items()
        for record in records_by_name(split, listed, root, first_camera=first_camera)
    ]


def records_by_name(split: str, paths: Sequence[str], root: Path, *, first_camera: int | None = None) -> list[Record]:
    """Describe images of one folder by their names: all of them say person and camera, or none does.

    Args:
        split: Of the images.
        paths: Relative to ``root``.
        root: For the sentence about names that say nothing.
        first_camera: Number that the data set counts cameras from; found out when not given.

    Returns:
        One record an image, junk (person -1) left out.
    """
    parsed = [parse_name(Path(path).name) for path in paths]
    nameless = [path for path, name in zip(paths, parsed, strict=True) if name is None]
    if len(nameless) == len(paths):
        return [Record(split, path, None, None) for path in paths]
    if nameless:
        raise UserError(
            f"{len(nameless)} of {len(paths)} names in {root / Path(paths[0]).parent} do not say person and camera "
            f"like 0002_c1s1_000451_03.jpg (first: {', '.join(nameless[:3])}); rename or remove them"
        )
    first = _first_camera(paths) if first_camera is None else first_camera
    return [
        Record(split, path, name[0], name[1] - first)
        for path, name in zip(paths, parsed, strict=True)
        if name and name[0] >= 0
    ]


def _first_camera(paths: Iterable[str]) -> int:
    """Return 0 where a camera has that number, else 1 as in Market-1501."""
    named = (parse_name(Path(path).name) for path in paths)
    return min((name[1] for name in named if name), default=1) and 1
