"""Which layout of a data set lies in a folder, what is missing of it, and which images it lists."""

import codecs
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from reid_core.data.datasets.base import MARKET_NAME, SPLITS, Layout, Record
from reid_core.data.datasets.tree import first_names, look_through
from reid_core.data.path_safety import leaves_root
from reid_core.errors import UserError

_SHOWN = 200  # characters of a broken line


class Candidate(NamedTuple):
    """A folder that was looked into for one layout.

    Attributes:
        folder: Absolute.
        layout: What was looked for, with folders and lists spelled as they are there (``Bounding_Box_Train``).
        missing: Entries of the layout that are not there.
    """

    folder: Path
    layout: Layout
    missing: tuple[str, ...]

    @property
    def present(self) -> tuple[str, ...]:
        """Entries of the layout that are there."""
        return tuple(entry for entry in self.layout.entries if entry not in self.missing)

    @property
    def is_partial(self) -> bool:
        """Whether so much of the layout is there that the rest was probably lost."""
        return bool(self.missing) and len(self.present) >= 2


def look_into(folder: Path, layouts: Sequence[Layout]) -> list[Candidate]:
    """Look for layouts in one folder; nothing but names is read, and their case and punctuation do not matter."""
    by_name: dict[str, list[str]] = {}
    for name in sorted(entry.name for entry in folder.iterdir()):
        by_name.setdefault(plain(name), []).append(name)
    found = []
    for layout in layouts:
        there = {entry: _spelled(folder, entry, by_name.get(plain(entry), [])) for entry in layout.entries}
        missing = tuple(entry for entry, name in there.items() if not name)
        spelled = replace(
            layout,
            folders={part: there[entry] or entry for part, entry in layout.folders.items()},
            lists={part: there[entry] or entry for part, entry in layout.lists.items()},
        )
        found.append(Candidate(folder, spelled, missing))
    return found


def _spelled(folder: Path, entry: str, names: Sequence[str]) -> str:
    """Return the one name under which a folder or list of a layout lies there, or an empty text."""
    names = [
        name for name in names if ((folder / name).is_file() if entry.endswith(".txt") else (folder / name).is_dir())
    ]
    if len(names) > 1:
        raise UserError(f"{folder} has {' and '.join(names)}, so it cannot be told which one is {entry}; keep one")
    return names[0] if names else ""


def plain(name: str) -> str:
    """Return a name without what people spell differently: case, punctuation and blanks."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def choose(name: str, candidates: Sequence[Candidate], nothing: str) -> Candidate:
    """Return the one folder and layout that are whole.

    Args:
        name: Data set, for the messages.
        candidates: Folders that were looked into.
        nothing: Message for when none of them looks like the data set at all.

    Returns:
        The candidate; a UserError when there is none, or more than one.
    """
    whole = [candidate for candidate in candidates if not candidate.missing]
    folders = {candidate.folder for candidate in whole}
    if len(folders) > 1:
        listed = ", ".join(str(folder) for folder in sorted(folders))
        raise UserError(f"{name} was found more than once ({listed}); point DATA_ROOT at one")
    if len(whole) > 1:
        mixed = " and ".join(candidate.layout.name for candidate in whole)
        raise UserError(
            f"{whole[0].folder} mixes the layouts {mixed}, so it cannot be told which images belong together; keep one"
        )
    if whole:
        return whole[0]
    partial = max((c for c in candidates if c.is_partial), key=lambda c: len(c.present), default=None)
    if partial is not None:
        raise UserError(
            f"{name} in {partial.folder} has {', '.join(partial.present)} but not {', '.join(partial.missing)}; "
            "unpack the archive again"
        )
    raise UserError(nothing)


def read_images(root: Path, layout: Layout, *, train_split: str = "trainval") -> list[Record]:
    """List the images of a whole layout: train, query and gallery in this order, each sorted by path.

    Args:
        root: Folder that has all entries of the layout.
        layout: Says where images and their names' meaning are. A folder in which no name says person and camera holds
            images of unknown people.
        train_split: ``trainval``, or ``train`` to leave the validation part out.

    Returns:
        One record an image, junk left out. Images that a list names are there, or it is a UserError.
    """
    read_part = _read_list if layout.lists else _read_folder
    by_part = {part: read_part(root, layout, part) for part in layout.folders}
    # Over all parts: one of them may lack the first camera.
    first_camera = _first_camera(record for records in by_part.values() for record in records)
    if train_split == "train":
        del by_part["val"]
    records = _shift_cameras((record for records in by_part.values() for record in records), first_camera)
    if layout.lists:
        refuse_missing_images(root, records)
    return sorted(records, key=lambda record: (SPLITS.index(record.split), record.path))


def read_names(split: str, paths: Sequence[str], root: Path, layout: Layout) -> list[Record]:
    """Describe images of one folder by their names; cameras are counted from 0."""
    records = _describe(split, paths, root, layout)
    return _shift_cameras(records, _first_camera(records))


def parse_name(name: str, pattern: re.Pattern[str] = MARKET_NAME) -> tuple[int, int] | None:
    """Return person and camera, as written, of a file name, or None when it does not say them."""
    match = pattern.match(name)
    return (int(match["person"]), int(match["camera"])) if match else None


def _read_folder(root: Path, layout: Layout, part: str) -> list[Record]:
    folder = layout.folders[part]
    paths = [f"{folder}/{path}" for path in look_through(root / folder).pictures]
    return _describe(_split(part), paths, root, layout)


def _describe(split: str, paths: Sequence[str], root: Path, layout: Layout) -> list[Record]:
    """Describe images by their names: all of them say person and camera (as written), or none does."""
    parsed = [parse_name(Path(path).name, layout.image_name) for path in paths]
    nameless = [path for path, name in zip(paths, parsed, strict=True) if name is None]
    if len(nameless) == len(paths):
        return [Record(split, path, None, None) for path in paths]
    if nameless:
        raise UserError(
            f"{len(nameless)} of {len(paths)} names in {root / Path(paths[0]).parent} do not say person and camera "
            f"like {layout.example} (first: {first_names(nameless)}); rename or remove them"
        )
    return [Record(split, path, *name) for path, name in zip(paths, parsed, strict=True) if name and name[0] >= 0]


def _read_list(root: Path, layout: Layout, part: str) -> list[Record]:
    source, folder = root / layout.lists[part], layout.folders[part]
    lines = [line for line in read_text(source).splitlines() if line.strip()]
    if not lines:
        raise UserError(
            f"{source} is empty, wanted lines like `{layout.example}`; restore it from the published archive"
        )
    records = []
    for line in lines:
        try:
            path, person = line.replace("\\", "/").rsplit(maxsplit=1)
            path = path.strip().removeprefix("./")
            name = layout.image_name.match(Path(path).name)
            if name is None or leaves_root(path):
                raise ValueError(path)
            records.append(Record(_split(part), f"{folder}/{path}", int(person), int(name["camera"])))
        except ValueError as error:
            raise UserError(
                f"{source} holds the line {line[:_SHOWN]!r}, wanted `{layout.example}` (path, person); "
                "restore the list of the published archive"
            ) from error
    return [record for record in records if record.person_id is None or record.person_id >= 0]


def read_text(path: Path) -> str:
    """Read a text of any encoding that programs write: UTF-8, UTF-16 (with or without its mark), or Latin-1."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    zeros = [content[start : 2 * _SHOWN : 2].count(0) for start in (0, 1)]
    if any(zeros):  # half of the bytes of a text in UTF-16, and none of another text's
        return content.decode("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


_OTHER_VERSION = (
    "lists and images of different versions lie together, or the archive was not unpacked to its end: unpack it again"
)


def refuse_missing_images(
    root: Path, records: Sequence[Record], *, source: str = "the lists", advice: str = _OTHER_VERSION
) -> None:
    """Raise when lists name images that are not there."""
    there: set[str] = set()
    for folder in sorted({os.path.dirname(record.path) for record in records}):  # noqa: PTH120 - 100,000 of them
        try:
            with os.scandir(root / folder) as entries:
                there.update(f"{folder}/{e.name}" if folder else e.name for e in entries if e.is_file())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UserError(f"{root / folder} may not be read ({error.strerror}); change its permissions") from error
    missing = [record.path for record in records if record.path not in there]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(records):,} images that {source} in {root} name are not there (first: "
            f"{first_names(missing)}); {advice}"
        )


def _split(part: str) -> str:
    return "train" if part == "val" else part


def _first_camera(records: Iterable[Record]) -> int:
    """Return 0 where a camera has that number, else 1 as in Market-1501."""
    return min((record.camera_id for record in records if record.camera_id is not None), default=1) and 1


def _shift_cameras(records: Iterable[Record], first: int) -> list[Record]:
    return [r if r.camera_id is None else r._replace(camera_id=r.camera_id - first) for r in records]
