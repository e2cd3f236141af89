"""Person, camera and tracklet of own photographs: by pattern, by folder, or from a table."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from reid_core.data.datasets.base import SPLITS, Naming, Record
from reid_core.data.datasets.layouts import plain, read_text, refuse_missing_images
from reid_core.data.datasets.tree import first_names, is_image_name
from reid_core.data.path_safety import leaves_root
from reid_core.errors import UserError, printable

_COLUMNS = {
    "path": ("path", "file", "filename", "image", "imagepath", "imagename"),
    "camera": ("camera", "cameraid", "camid", "cam"),
    "person": ("person", "personid", "pid", "identity"),
    "tracklet": ("tracklet", "trackletid", "trackid", "track"),
    "split": ("split",),
}
_GROUPS = ("person", "camera", "tracklet")
_LARGEST = 2**31 - 1  # the image table holds 32 bits
_NAMED_CAMERAS = 8


class Statement(NamedTuple):
    """What is said of one image, as written; None where nothing is."""

    person: str | None = None
    camera: str | None = None
    tracklet: str | None = None


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression that a user wrote, or say what is wrong with it."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"the name pattern {pattern!r} is no regular expression ({error}); correct it") from error
    groups = set(compiled.groupindex)
    if not groups or not groups <= set(_GROUPS):
        came = f"has {', '.join(sorted(groups))}" if groups else "names none"
        raise UserError(
            rf"the name pattern {pattern!r} {came}, wanted groups among person, camera and tracklet, such as "
            r"(?P<person>\d+)_cam(?P<camera>\d+)"
        )
    return compiled


def describe_images(
    parts: Mapping[str, tuple[str, Sequence[str]]], root: Path, naming: Naming
) -> tuple[list[Record], list[str]]:
    """Describe images by pattern and folders.

    Args:
        parts: Split to its folder below ``root`` (empty for the root itself) and its images relative to ``root``.
        root: For the messages.
        naming: Pattern, or cameras by folder, or both.

    Returns:
        One record an image, negative persons (junk) left out, and remarks. An image of which nothing is said is a
        UserError.
    """
    pattern = compile_pattern(naming.pattern) if naming.pattern else None
    by_folder = naming.camera_from == "folder"
    if by_folder and pattern is not None and "camera" in pattern.groupindex:
        raise UserError("the camera comes from the folder or from the group camera of the name pattern; give one")
    said: list[tuple[str, str, Statement]] = []
    for split, (folder, paths) in parts.items():
        below = [path.removeprefix(f"{folder}/") if folder else path for path in paths]
        if by_folder and (loose := [path for path in below if "/" not in path]):
            raise UserError(
                f"{len(loose):,} of {len(below):,} pictures lie in {root / folder} itself (first: "
                f"{first_names(loose)}), but every camera should be a folder of its own; move them into one, or name "
                "cameras by a pattern"
            )
        found = [_match(pattern, path) for path in below]
        if nameless := [path for path, match in zip(paths, found, strict=True) if match is None]:
            raise UserError(
                f"{len(nameless):,} of {len(paths):,} names in {root / folder} do not fit the name pattern "
                f"{naming.pattern} (first: {first_names(nameless)}); correct it, or rename or remove them"
            )
        for path, inner, match in zip(paths, below, found, strict=True):
            statement = match or Statement()
            said.append((split, path, statement._replace(camera=inner.split("/")[0]) if by_folder else statement))
    return _records(said), _remarks(said)


def read_table(root: Path, table: Path, pictures: Sequence[str]) -> tuple[list[Record], list[str]]:
    """Describe the images that a table names.

    Args:
        root: Folder that its paths are relative to.
        table: CSV (comma, semicolon or tab; any encoding) or Parquet.
        pictures: All pictures below ``root``.

    Returns:
        One record a row, and remarks. Images that are not there, or lie outside of ``root``, are a UserError.
    """
    columns, ignored = _read_columns(table)
    notes = [f"{table.name}: the columns {first_names(ignored)} are not read"] if ignored else []
    paths = [_relative(path, root, table) for path in columns["path"]]
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        raise UserError(f"{table} names {first_names(twice)} more than once; keep one row an image")
    nothing: list[str | None] = [None] * len(paths)
    splits = [(split or "train").lower() for split in columns.get("split", nothing)]
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise UserError(f"{table} has the split {first_names(unknown)}, wanted train, query or gallery")
    rest = [columns.get(name, nothing) for name in _GROUPS]
    statements = [Statement(*row) for row in zip(*rest, strict=True)]
    said = list(zip(splits, paths, statements, strict=True))
    records = _records(said)
    notes += _remarks(said)
    refuse_missing_images(root, records, source=str(table), advice="correct the table, or put them there")
    named = set(paths)
    if unnamed := [path for path in pictures if path not in named]:
        notes.append(f"left out, because {table.name} does not name them: {first_names(unnamed)}")
    return records, notes


def _match(pattern: re.Pattern[str] | None, path: str) -> Statement | None:
    if pattern is None:
        return Statement()
    match = pattern.search(path if "/" in pattern.pattern else PurePosixPath(path).name)
    return None if match is None else Statement(**match.groupdict())


def _records(said: Sequence[tuple[str, str, Statement]]) -> list[Record]:
    people, cameras, tracklets = (
        _numbers([statement[column] or None for _, _, statement in said], from_zero=column > 0) for column in range(3)
    )
    records = [
        Record(split, path, person, camera, tracklet)
        for (split, path, _), person, camera, tracklet in zip(said, people, cameras, tracklets, strict=True)
        if person is None or person >= 0
    ]
    return sorted(records, key=lambda record: (SPLITS.index(record.split), record.path))


def _remarks(said: Sequence[tuple[str, str, Statement]]) -> list[str]:
    """Say what was read as cameras, so that a wrong pattern or folder shows, and where none is known."""
    images = Counter(statement.camera for _, _, statement in said)
    tracked = [statement.tracklet for _, _, statement in said if statement.tracklet]
    remarks = []
    if tracked:
        remarks.append(
            f"{len(tracked):,} images lie in {len(set(tracked)):,} tracklets: training is told that each is one person"
        )
    unknown = images.pop(None, 0)
    if not images:
        return remarks
    listed = [f"{printable(camera)} ({num:,})" for camera, num in sorted(images.items()) if camera is not None]
    more = ", ..." if len(listed) > _NAMED_CAMERAS else ""
    remarks.append(f"read as cameras, with their images: {', '.join(listed[:_NAMED_CAMERAS])}{more}")
    if unknown:
        remarks.append(
            f"the camera of {unknown:,} of {len(said):,} images is not known, so that training takes no camera as known"
        )
    return remarks


def _numbers(values: Sequence[str | None], *, from_zero: bool) -> list[int | None]:
    """Return numbers for what is written: whole numbers as they are, or counted from 0 in their order; else names."""
    different = {value for value in values if value is not None}
    try:
        numbers = {value: int(value) for value in different}
        is_small = all(-_LARGEST <= number <= _LARGEST for number in numbers.values())
    except ValueError:
        numbers, is_small = {}, False
    if not numbers or not is_small:
        order: dict[str, int] = {value: place for place, value in enumerate(sorted(different))}
    elif from_zero:
        places = {number: place for place, number in enumerate(sorted(set(numbers.values())))}
        order = {value: places[number] for value, number in numbers.items()}
    else:
        order = numbers
    return [None if value is None else order[value] for value in values]


def _relative(path: str | None, root: Path, table: Path) -> str:
    """Return a path of the table relative to the root; one that leaves the root is refused."""
    path = (path or "").strip().replace("\\", "/").removeprefix("./")
    for start in (root.as_posix(), root.resolve().as_posix()):
        path = path.removeprefix(f"{start.rstrip('/')}/")
    if leaves_root(path):
        raise UserError(f'{table} names the file "{printable(path)}", wanted one below {root}; correct the table')
    path = os.path.normpath(path)
    if not is_image_name(PurePosixPath(path).name):
        raise UserError(f'{table} names "{printable(path)}", which is no picture by its name; correct the table')
    return path


def _read_columns(table: Path) -> tuple[dict[str, list[str | None]], list[str]]:
    """Return the columns that are known, by name, and the names of the others."""
    if not table.is_file():
        came = "is no file" if table.exists() else "does not exist"
        raise UserError(f"the table {table} {came}; wanted a CSV or Parquet file")
    try:
        rows = _read_parquet(table) if table.suffix.lower() in (".parquet", ".pq") else _read_csv(table)
    except (OSError, pa.ArrowException, csv.Error, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"the table {table} cannot be read ({reason}); wanted a CSV or Parquet file") from error
    found: dict[str, list[str | None]] = {}
    ignored = []
    for heading, values in rows.items():
        name = next((name for name, spelled in _COLUMNS.items() if plain(heading) in spelled), None)
        if name is None:
            ignored.append(heading)
        elif name in found:
            raise UserError(f"the table {table} has two columns for {name}; keep one")
        else:
            found[name] = [None if value is None or not value.strip() else value.strip() for value in values]
    if "path" not in found:
        raise UserError(
            f"the table {table} has the columns {first_names(list(rows)) or 'none'}, wanted path, and camera, person, "
            "tracklet or split where known"
        )
    if not found["path"]:
        raise UserError(f"the table {table} has no row, wanted one an image")
    return found, ignored


def _read_parquet(table: Path) -> dict[str, list[str | None]]:
    columns = pq.read_table(table)
    names = columns.column_names
    return {name: [_text(value) for value in columns[index].to_pylist()] for index, name in enumerate(names)}


def _text(value: object) -> str | None:
    if value is None or value != value:
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read_csv(table: Path) -> dict[str, list[str | None]]:
    text = read_text(table)
    if "\0" in text:
        raise ValueError("it holds zero bytes")
    heading = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = next(reader, [])
    rows = [row for row in reader if any(field.strip() for field in row)]
    uneven = next((number for number, row in enumerate(rows, 2) if len(row) != len(names)), None)
    if uneven is not None:
        raise ValueError(f"row {uneven} has {len(rows[uneven - 2])} fields, the heading {len(names)}")
    return {name.strip(): [row[index] for row in rows] for index, name in enumerate(names)}
