"""Finding a data set on disk by its name, in any of the layouts it is passed around in."""

import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

from reid_core.data.datasets.base import edition_of, verify_counts
from reid_core.data.datasets.layouts import LISTS_V1, LISTS_V2, MARKET, Candidate, choose, look_into
from reid_core.data.datasets.market_style import (
    Record,
    is_image_name,
    parse_name,
    read_market_style,
    records_by_name,
)
from reid_core.data.datasets.msmt17 import list_version, read_lists, refuse_missing_images
from reid_core.errors import UserError

NAMES = ("synthetic", "market1501", "dukemtmc-reid", "msmt17", "personx", "folder")
DUKE_NOTE = "DukeMTMC-reID was withdrawn by its authors in 2019: do not publish or pass on images of it"

_PLAIN_NAMES = {  # letters and digits of the folders' names begin like this
    "market1501": ("market1501", "market"),
    "dukemtmc-reid": ("dukemtmcreid", "duke"),
    "msmt17": ("msmt17",),
    "personx": ("personx",),
}


class Found(NamedTuple):
    """A data set on disk.

    Attributes:
        name: One of ``NAMES``.
        version: Which edition was found.
        layout: How its files lie.
        root: Absolute folder that the records' paths are relative to.
        records: Its images, train, query and gallery in this order, each sorted by path.
        notes: What the user should be told once.
    """

    name: str
    version: str
    layout: str
    root: Path
    records: tuple[Record, ...]
    notes: tuple[str, ...]


def canonical_name(name: str) -> str:
    """Return the data set that is meant by a name (case and punctuation do not matter)."""
    plain = _plain(name)
    by_plain = {_plain(known): known for known in NAMES} | {"market": "market1501", "duke": "dukemtmc-reid"}
    if plain in by_plain:
        return by_plain[plain]
    near = difflib.get_close_matches(plain, by_plain, n=1)
    hint = f"did you mean {by_plain[near[0]]}? " if near else ""
    raise UserError(f"unknown data set {name!r}: {hint}choose one of {', '.join(NAMES)}")


def find_dataset(name: str, data_root: Path, *, train_split: str = "trainval") -> Found:
    """Find the images of a data set; nothing is decoded and nothing is changed.

    Args:
        name: One of ``NAMES`` but ``synthetic``.
        data_root: Folder that holds the data set, or the data set's own folder.
        train_split: For MSMT17: ``trainval``, or ``train`` to leave the validation list out.

    Returns:
        Its images; a benchmark has the published number of them.
    """
    found = locate_dataset(name, data_root, train_split=train_split)
    verify_counts(name, train_split, found.records, found.root)
    return found


def locate_dataset(name: str, data_root: Path, *, train_split: str = "trainval") -> Found:
    """Find the images of a data set like ``find_dataset``, whole or not."""
    assert name in NAMES, name
    root = data_root.expanduser().absolute()
    if not root.is_dir():
        what = "your images" if name == "folder" else name
        came = "is a file" if root.exists() else "does not exist"
        raise UserError(f"DATA_ROOT {root} {came}; wanted the folder that holds {what}")
    if train_split != "trainval" and name != "msmt17":
        raise UserError(f"data.train_split={train_split} is for msmt17 only, which has a validation list; remove it")
    try:
        found = _find_folder(root) if name == "folder" else _find_benchmark(name, root, train_split)
    except PermissionError as error:
        raise UserError(f"{error.filename} may not be read ({error.strerror}); change its permissions") from error
    if not any(record.split == "train" for record in found.records):
        raise UserError(f"no training image lies in {found.root} (looked for .jpg, .png, .bmp, .webp and .tif files)")
    return found


def candidates(name: str, data_root: Path) -> list[Candidate]:
    """Return every folder that is looked into for a benchmark, with what is there and what is missing."""
    root = data_root.expanduser().absolute()
    near = [root, *_children(root, _PLAIN_NAMES[name])]
    folders = [*near, *(child for folder in near[1:] for child in _children(folder, ("",)))]
    layouts = (MARKET, LISTS_V1, LISTS_V2) if name == "msmt17" else (MARKET,)
    return [candidate for folder in folders for candidate in look_into(folder, layouts)]


def _find_benchmark(name: str, root: Path, train_split: str) -> Found:
    lists = " or {train,test} / {mask_train_v2,mask_test_v2} with list_*.txt" if name == "msmt17" else ""
    nothing = (
        f"{name} was not found under DATA_ROOT {root}: looked for bounding_box_train, query and bounding_box_test"
        f"{lists} in it and in its folders named like {_PLAIN_NAMES[name][0]} (there are: {_listing(root)})"
    )
    folder, layout, _ = choose(name, candidates(name, root), nothing)
    notes = (DUKE_NOTE,) if name == "dukemtmc-reid" else ()
    if layout.has_lists:
        version = list_version(folder, is_v2=layout == LISTS_V2)
        records = read_lists(folder, train_split=train_split)
        refuse_missing_images(folder, records)
        return Found(name, version, layout.name, folder, tuple(records), notes)
    if train_split != "trainval":
        raise UserError(f"{folder} has no list_train.txt, so data.train_split=train cannot be told apart; remove it")
    records = read_market_style(folder)
    if name == "msmt17":
        version = list_version(folder, is_v2=False)
    elif name == "personx":
        version, note = edition_of(records)
        notes = (note,) if note else ()
    else:
        version = {"market1501": "Market-1501-v15.09.15", "dukemtmc-reid": "DukeMTMC-reID"}[name]
    return Found(name, version, layout.name, folder, tuple(records), notes)


def _find_folder(root: Path) -> Found:
    [market] = look_into(root, (MARKET,))
    if not market.missing:
        return Found("folder", "own images", MARKET.name, root, tuple(read_market_style(root)), ())
    if set(market.present) - {"bounding_box_train"}:
        # Taken as a bare folder, its test images would be trained on.
        raise UserError(
            f"{root} has {', '.join(market.present)} but not {', '.join(market.missing)}; for an evaluation give all "
            "three folders, to train on everything put the pictures into one folder"
        )
    paths = []
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith(".") and folder != "__MACOSX")
        paths += [(Path(parent) / name).relative_to(root).as_posix() for name in names if is_image_name(name)]
    if not paths:
        raise UserError(
            f"no picture lies in DATA_ROOT {root} or its folders (looked for .jpg, .png, .bmp, .webp and .tif files)"
        )
    paths.sort()
    if all(parse_name(Path(path).name) for path in paths):
        layout, records = "pictures with Market-1501 names", records_by_name("train", paths, root)
    else:
        layout, records = "plain pictures", [Record("train", path, None, None) for path in paths]
    return Found("folder", "own images", layout, root, tuple(records), ())


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _children(folder: Path, beginnings: tuple[str, ...]) -> list[Path]:
    children = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))
    return [child for child in children if _plain(child.name).startswith(beginnings)]


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
