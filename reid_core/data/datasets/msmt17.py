"""The layouts of MSMT17 that come with list files (V1, V2 and unnamed ones)."""

import os
from collections.abc import Sequence
from pathlib import Path

from reid_core.data.datasets.market_style import Record
from reid_core.data.path_safety import leaves_root
from reid_core.errors import UserError

LISTS = ("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt")
_FOLDERS = (("mask_train_v2", "mask_test_v2"), ("train", "test"))


def list_version(root: Path, *, is_v2: bool) -> str:
    """Name the version by the folders that it has, or else by the name that it or the folder around it carries.

    V2 masks faces; numbers of images and names of lists are the same, so that these cannot tell the versions apart.
    """
    if is_v2:
        return "MSMT17_V2"
    for name in (root.name, root.parent.name):
        for version in ("V1", "V2"):
            if version.lower() in name.lower():
                return f"MSMT17_{version}"
    return "MSMT17 (version not named)"


def read_lists(root: Path, *, train_split: str) -> list[Record]:
    """Read the lists; ``train_split`` is ``trainval`` (both lists) or ``train`` (without the validation list)."""
    train_dir, test_dir = next(pair for pair in _FOLDERS if (root / pair[0]).is_dir() and (root / pair[1]).is_dir())
    lists = [("train", "list_train.txt", train_dir)]
    if train_split == "trainval":
        lists.append(("train", "list_val.txt", train_dir))
    lists += [("query", "list_query.txt", test_dir), ("gallery", "list_gallery.txt", test_dir)]
    records: list[Record] = []
    for split, name, folder in lists:
        lines = (root / name).read_text().splitlines()
        records += [_record(split, folder, line, root / name) for line in lines if line.strip()]
    order = {"train": 0, "query": 1, "gallery": 2}
    return sorted(records, key=lambda record: (order[record.split], record.path))


def refuse_missing_images(root: Path, records: Sequence[Record]) -> None:
    """Raise when the lists name images that are not there: lists of one version beside images of another."""
    there: set[str] = set()
    for folder in sorted({record.path.split("/")[0] for record in records}):
        for parent, _, names in os.walk(root / folder):
            place = Path(parent).relative_to(root).as_posix()
            there.update(f"{place}/{name}" for name in names)
    missing = [record.path for record in records if record.path not in there]
    if missing:
        raise UserError(
            f"{len(missing):,} of {len(records):,} images that the lists in {root} name are not there (first: "
            f"{', '.join(missing[:3])}); lists and images of different versions lie together, or the archive was not "
            "unpacked to its end: unpack it again"
        )


def _record(split: str, folder: str, line: str, source: Path) -> Record:
    try:
        path, person = line.rsplit(maxsplit=1)
        if leaves_root(path):
            raise ValueError(path)
        camera = int(Path(path).name.split("_")[2])
        return Record(split, f"{folder}/{path}", int(person), camera - 1)
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{source} holds the line {line!r}, wanted `0000/0000_000_01_0303morning_0015_0.jpg 0` (path, person); "
            "restore the list of the published archive"
        ) from error
