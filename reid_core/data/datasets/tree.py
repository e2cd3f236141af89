"""The files below a folder: links followed, what cannot be read named, and what genvar wrote there itself left out."""

import os
from collections import Counter, deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from reid_core.errors import UserError, printable

# The names under which JPEG, PNG, BMP, WebP, TIFF, GIF and PPM are known.
_PICTURES = ".jpg .jpeg .jpe .jfif .png .bmp .dib .webp .tif .tiff .gif .ppm .pgm .pbm .pnm"
SUFFIXES = frozenset(_PICTURES.split())
# Files that lie beside pictures and that nobody takes for one; others that are no picture are counted in a note.
_BESIDE = (
    ".txt .md .rst .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .cfg .html .htm .pdf .log .py .m .mat .npy .npz "
    ".parquet .pkl .h5 .db .sqlite .sh .url .lnk"
)
_TEXTS = frozenset(_BESIDE.split())
_SYSTEM = frozenset({"__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information", "@eaDir"})
_MARKER = ".genvar-results"
_LARGEST_MARKER = 1_000_000  # bytes
_NAMED = 3  # in a message; the others are counted


class Tree(NamedTuple):
    """Files below a folder, relative to it, with forward slashes, sorted; hidden ones are left out.

    Attributes:
        folders: Every folder but the root itself, each once however many links lead to it.
        pictures: Files whose names are a picture's.
        others: Files that are neither a picture nor a text or table beside pictures.
        results: Files and folders that genvar wrote, and that are not looked at.
    """

    folders: tuple[str, ...]
    pictures: tuple[str, ...]
    others: tuple[str, ...]
    results: tuple[str, ...]

    def notes(self) -> list[str]:
        """Return what a user should know of files that were left out."""
        notes = []
        if self.others:
            endings = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in self.others)
            listed = ", ".join(f"{num} {printable(ending)}" for ending, num in endings.most_common(5))
            first = printable(self.others[0])
            notes.append(f"left out, because genvar does not read them as pictures: {listed} (first: {first})")
        if self.results:
            notes.append(f"left out, because genvar wrote them: {first_names(self.results)}")
        return notes


def look_through(root: Path) -> Tree:
    """List the files below a folder; nothing but names is read.

    Links are followed. A folder that several lead to is listed once, under its own name where it has one there, and a
    link to a folder around the root is not followed, so that links in a circle come to an end.

    Raises:
        UserError: A folder cannot be read, or a link leads nowhere: its pictures would be missing without a word.
    """
    seen = {_identity(parent) for parent in root.resolve().parents}
    waiting, linked = deque([""]), deque[str]()
    folders, pictures, others, results, closed = list[str](), list[str](), list[str](), list[str](), list[str]()
    while waiting or linked:
        place = waiting.popleft() if waiting else linked.popleft()
        try:
            if (identity := _identity(root / place)) in seen:
                continue
            seen.add(identity)
            with os.scandir(root / place) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            closed.append(f"{printable(place) or '.'}: {error.strerror}")
            continue
        if place:
            folders.append(place)
        own = _own_results(root / place, {entry.name for entry in entries})
        for entry in entries:
            path = f"{place}/{entry.name}" if place else entry.name
            if entry.name.startswith(".") or entry.name in _SYSTEM:
                continue
            kind = _kind(entry)
            if entry.name in own:
                results.append(path)
            elif kind == "folder":
                (linked if entry.is_symlink() else waiting).append(path)
            elif is_image_name(entry.name) and kind != "special":
                pictures.append(path)  # also a link that leads nowhere: the check of the images names it
            elif kind in ("file", "special"):
                others += [path] * (_suffix(entry.name) not in _TEXTS)
            elif _suffix(entry.name) not in _TEXTS:
                closed.append(f"{printable(path)}: {kind}")
    if closed:
        raise UserError(
            f"{len(closed)} folders or links in {root} cannot be read, so that pictures may be missing (first: "
            f"{'; '.join(closed[:_NAMED])}); change their permissions, or remove them"
        )
    return Tree(*(tuple(sorted(paths)) for paths in (folders, pictures, others, results)))


def is_image_name(name: str) -> bool:
    """Tell whether a file name is a picture's; what macOS leaves beside files (``._name.jpg``) is not."""
    return not name.startswith(".") and _suffix(name) in SUFFIXES


def mark_results(folder: Path, names: Collection[str]) -> None:
    """Note in a folder which of its files genvar wrote, so that they are never taken for pictures of people."""
    marker = folder / _MARKER
    if set(names) <= (marked := _marked(marker)):
        return
    part = folder / f"{_MARKER}.{os.getpid()}"
    with suppress(OSError):  # not worth the end of the command that wrote them
        part.write_text("".join(f"{name}\n" for name in sorted({*marked, *names})))
        part.replace(marker)  # a link of that name is replaced, not written through


def first_names(names: Sequence[str]) -> str:
    """Return the first names in words, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(printable, names[:_NAMED])) + more


def _own_results(folder: Path, names: set[str]) -> set[str]:
    own = _marked(folder / _MARKER) if _MARKER in names else set()
    if {"mlflow.db", "artifacts"} <= names:  # a home
        own |= {"artifacts", "work", "cache", "pictures", "searches"}
    if {"hits.parquet", "hits.png"} <= names:  # of a search
        own |= {"hits.parquet", "hits.png"}
    return own & names


def _marked(marker: Path) -> set[str]:
    try:
        if not marker.is_file() or marker.stat().st_size > _LARGEST_MARKER:  # a pipe would never end
            return set()
        return set(marker.read_text(errors="replace").splitlines()) - {""}
    except OSError:
        return set()


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _kind(entry: "os.DirEntry[str]") -> str:
    """Return ``folder``, ``file`` or ``special`` (a pipe or device: reading might never end), or why it is none."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        entry.stat()
    except OSError as error:
        return error.strerror or "unknown"
    return "special"
