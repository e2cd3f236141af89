"""Random folders of links, closed folders, odd names and lists: a sentence or a listing, and no picture lost unsaid.

More cases: GENVAR_FUZZ_CASES=25000 python -m pytest tests/reid_core/data/datasets/test_fuzz.py
"""

import os
import random
import re
import shutil
from pathlib import Path

import pytest

from reid_core.data.datasets import tree
from reid_core.data.datasets.base import Dataset, Naming
from reid_core.data.datasets.find import DATASETS, find_dataset
from reid_core.errors import UserError

_CASES = int(os.environ.get("GENVAR_FUZZ_CASES", "1000"))
_LAYOUTS = (
    "bounding_box_train query bounding_box_test train test gallery val mask_train_v2 mask_test_v2 Query "
    "Bounding_Box_Train TRAIN market1501 MSMT17_V1 duke zip"
)
_LAYOUT = _LAYOUTS.split()
_ODD = [
    "day 1",
    "é",
    "日本",
    "a\nb",
    "#1?x=%20",
    "..x",
    "-rf",
    "'\"",
    "\udcff",
    "x" * 200,
    "__MACOSX",
    ".hide",
    "f.jpg",
]
_STEMS = ["a", "0001_c1s1_000001_00", "0002_c2s1_000001_00", "-1_c1s1_0_0", "0003C1T0001F001", "0000_000_01_x", *_ODD]
_SUFFIXES = [".jpg", ".JPG", ".jfif", ".gif", ".tiff", ".png", ".heic", ".mp4", ".txt", "", ".jpg.part", ".jpg ", ".."]
_LISTS = ["list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt"]
_LINES = ["0000_000_01_x.jpg 0", "../a.jpg 0", "day 1/0000_000_01_x.jpg 1", "/etc/passwd 0", "é", "", "\0", "-1 -1 -1"]
_NAMINGS = [
    *[Naming()] * 12,
    Naming(camera_from="folder"),
    Naming(pattern=r"(?P<person>-?\d+)_c(?P<camera>\d+)"),
    Naming(pattern=r"(?P<camera>.)[^/]*/"),
    Naming(pattern="(?P<tracklet>.)"),
    Naming(table=Path("table.csv")),
]


def _grow(draw: random.Random, root: Path) -> set[Path]:
    """Make a folder; returns the folders in it that are closed."""
    folders, files, closed = [root], [root], set()
    for _ in range(draw.randrange(14)):
        parent = draw.choice(folders)
        kind = draw.choice("dddd" + "f" * 12 + "lllsm" + "c" * (draw.random() < 0.1))
        if kind == "d":
            path = parent / draw.choice(_LAYOUT + _ODD * 4)
        elif kind == "c":
            path = parent / "shut"
        elif kind in "fl":
            path = parent / (draw.choice(_STEMS) + draw.choice(_SUFFIXES))
        else:
            path = parent / draw.choice(
                ["pipe.jpg", "shut", "x.jpg", *_LISTS, "table.csv", "mlflow.db", ".genvar-results"]
            )
        if len(str(path)) > 900 or os.path.lexists(path) or path.parent in closed:
            continue
        try:
            if kind == "d":
                path.mkdir()
                folders.append(path)
            elif kind == "f":
                path.touch()
                files.append(path)
            elif kind == "l":
                nowhere, around = root / "gone", [root.parent, Path("/"), Path("/dev/zero")]
                target = draw.choice([*folders * 3, *files * 3, *around, nowhere, path, root.parent / "elsewhere"])
                path.with_suffix(draw.choice([path.suffix, ""])).symlink_to(target)
            elif kind == "s":
                os.mkfifo(path)
            elif kind == "c":
                path.mkdir()
                closed.add(path)
            else:
                lines = draw.choices([*_LINES, *(file.name for file in files)], k=draw.randrange(4))
                lines = ["path,camera", *lines] if path.suffix == ".csv" else lines
                path.write_bytes("\n".join(lines).encode(draw.choice(["utf-8", "utf-16", "latin-1"]), "ignore"))
        except OSError:
            continue
    return closed


def _visible(root: Path, results: set[Path]) -> set[Path]:
    """Return the pictures that a user sees, by another way than the code: folder by folder, where they really are."""
    seen, found, waiting = set(root.resolve().parents), set[Path](), [root]
    while waiting:
        folder = waiting.pop()
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        for path in folder.iterdir():
            if path.name.startswith(".") or path.name == "__MACOSX" or path.absolute() in results or not path.exists():
                continue
            if path.is_dir():
                waiting.append(path)
            elif path.is_file() and path.suffix.lower() in tree.SUFFIXES:
                found.add(path.resolve())
    return found


def _num_told(notes: tuple[str, ...]) -> int:
    """Return how many files the notes say to be left out, at least."""
    told = 0
    for note in notes:
        if note.startswith("left out, because") and "does not read" not in note:
            more = re.search(r" and ([\d,]+) more$", note)
            told += note.count(", ") + (int(more[1].replace(",", "")) if more else 0)
    return told


def _check(case: int, root: Path, dataset: Dataset) -> None:
    paths = [dataset.root / record.path for record in dataset.records]
    assert len({(record.split, record.path) for record in dataset.records}) == len(paths), case
    assert all(os.path.lexists(path) and not path.is_dir() and not path.is_fifo() for path in paths), case
    assert all(note.isprintable() for note in dataset.notes), (case, dataset.notes)
    if dataset.name != "folder":
        return
    results = {root / name for name in tree.look_through(root).results}
    lost = _visible(root, results) - {Path(os.path.realpath(path)) for path in paths}
    lost = {path for path in lost if not re.match(r"-1_c", path.name)}  # nobody
    assert len(lost) <= _num_told(dataset.notes), (case, sorted(lost), dataset.notes)


def test_a_sentence_or_a_listing_and_never_a_silent_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: set[Path] = set()
    scandir = os.scandir

    def refuse(path: Path):  # type: ignore[no-untyped-def]
        if path in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0009_c1s1_000001_00.jpg").touch()
    num_sentences = 0
    for case in range(_CASES):
        draw = random.Random(case)
        root = tmp_path / "data"
        root.mkdir()
        closed |= _grow(draw, root)
        name = draw.choice([spec.name for spec in DATASETS] + ["folder"] * 20)
        naming = draw.choice(_NAMINGS) if name == "folder" else Naming()
        if naming.table is not None:
            naming = Naming(table=root / naming.table)
        try:
            outcome: Dataset | UserError = find_dataset(name, root, verify_size=draw.random() < 0.2, naming=naming)
        except UserError as error:
            outcome = error
        except Exception as error:  # what this test looks for
            raise AssertionError(f"case {case}: {name} {naming}") from error
        if isinstance(outcome, UserError):
            num_sentences += 1
            assert str(outcome).isprintable(), case
            assert len(str(outcome)) < 3000, case
        else:
            assert name != "folder" or not closed & set(root.iterdir()), case
            _check(case, root, outcome)
        closed.clear()
        shutil.rmtree(root)
    assert _CASES // 8 < num_sentences < 7 * _CASES // 8, "both happen often"
