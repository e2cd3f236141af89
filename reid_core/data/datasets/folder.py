"""Own photographs: train, query and gallery in a layout that is known, or any pictures, which are trained on."""

import re
from collections.abc import Sequence
from pathlib import Path

from reid_core.data.datasets.base import MARKET_FOLDERS, SPLITS, DatasetSpec, Layout, Listing, Naming, Record
from reid_core.data.datasets.layouts import Candidate, choose, look_into, parse_name, read_images, read_names
from reid_core.data.datasets.msmt17 import LISTS_V1, LISTS_V2
from reid_core.data.datasets.naming import describe_images, read_table
from reid_core.data.datasets.tree import Tree, first_names, look_through
from reid_core.errors import UserError

SPLIT_FOLDERS = Layout("folders train, query and gallery", {split: split for split in SPLITS})
VERI_FOLDERS = Layout("VeRi-776 folders", {"train": "image_train", "query": "image_query", "gallery": "image_test"})
_LAYOUTS = (MARKET_FOLDERS, LISTS_V1, LISTS_V2, SPLIT_FOLDERS, VERI_FOLDERS)
# Folders that a training set may have alone, or anybody's folder of pictures may be called.
_HARMLESS = {"bounding_box_train", "mask_train_v2", "image_train", "train", "test", "gallery"}
# Words in names of folders by which a data set of any origin (MARS, VeRi-776, ...) parts its images.
_TRAIN = {"train", "training"}
_HELD_OUT = {"test", "testing", "query", "queries", "probe", "gallery", "val", "valid", "validation"}


def read_folder(root: Path, naming: Naming) -> Listing:
    """Read a layout that is known, at any depth, or every picture of a folder and of those in it as training images."""
    tree = look_through(root)
    if not tree.pictures:
        left_out = f"; {'; '.join(tree.notes())}" if tree.notes() else ""
        raise UserError(
            f"no picture lies in DATA_ROOT {root} or its folders (looked for .jpg, .png, .bmp, .webp, .gif and .tif "
            f"files{left_out})"
        )
    if naming.table is not None:
        if naming.pattern or naming.camera_from != "name":
            raise UserError("person and camera come from a table, or from names and folders; give one of them")
        records, notes = read_table(root, naming.table, tree.pictures)
        return Listing(f"pictures of the table {naming.table.name}", root, records, (*tree.notes(), *notes))
    candidate = _find_layout(root, tree)
    listing = _read_pictures(root, tree, naming) if candidate is None else _read_layout(root, tree, candidate, naming)
    return listing._replace(notes=(*tree.notes(), *listing.notes))


def _find_layout(root: Path, tree: Tree) -> Candidate | None:
    """Return the layout that lies in the root or a folder below, or None; what is half there is refused."""
    holders = sorted({str(Path(folder).parent) for folder in tree.folders})
    candidates = [candidate for holder in holders for candidate in look_into(root / holder, _LAYOUTS)]
    whole = [candidate for candidate in candidates if not candidate.missing]
    at_root = [candidate for candidate in whole if candidate.folder == root]
    if whole:
        return choose("a data set", at_root or whole, "")
    for candidate in candidates:
        if set(candidate.present) - _HARMLESS:
            _refuse_half(candidate.folder, candidate.present, candidate.missing)
    for holder in holders:
        names = sorted(folder.name for folder in (root / holder).iterdir() if folder.is_dir())
        words = {name: set(re.split(r"[^a-z]+", name.lower())) for name in names}
        train, held_out = ([name for name in names if words[name] & wanted] for wanted in (_TRAIN, _HELD_OUT))
        if train and held_out:
            missing = [split for split in SPLITS if not any(split in words[name] for name in (*train, *held_out))]
            _refuse_half(root / holder, (*train, *held_out), missing or SPLITS)
    return None


def _refuse_half(folder: Path, present: tuple[str, ...], missing: Sequence[str]) -> None:
    # Taken as a bare folder, its test images would be trained on.
    raise UserError(
        f"{folder} has {', '.join(present)} but not {', '.join(missing)}; for an evaluation give all "
        f"{'three folders' if len(missing) + len(present) == len(SPLITS) else 'of them'}, to train on everything put "
        "the pictures into one folder"
    )


def _read_layout(root: Path, tree: Tree, candidate: Candidate, naming: Naming) -> Listing:
    folder, layout = candidate.folder, candidate.layout
    start = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    inside = [path.removeprefix(start) for path in tree.pictures if path.startswith(start)]
    notes: list[str] = []
    if naming == Naming():
        records = read_images(folder, layout)
    elif layout.lists:
        raise UserError(f"the lists in {folder} say person and camera; leave the naming of own images out")
    else:
        # A part may be a link to another folder, which the tree of the whole root holds once.
        parts = {
            part: (name, [f"{name}/{path}" for path in look_through(folder / name).pictures])
            for part, name in layout.folders.items()
        }
        records, notes = describe_images(parts, folder, naming)
    parts_of = tuple(f"{name}/" for name in layout.folders.values())
    beside = [path for path in inside if not path.startswith(parts_of)]
    beside += [path for path in tree.pictures if not path.startswith(start)]
    if beside:
        notes = [*notes, f"left out, because they lie beside the folders of the layout: {first_names(beside)}"]
    return Listing(layout.name, folder, records, tuple(notes))


def _read_pictures(root: Path, tree: Tree, naming: Naming) -> Listing:
    paths = tree.pictures
    if naming != Naming():
        records, remarks = describe_images({"train": ("", paths)}, root, naming)
        return Listing("pictures", root, records, tuple(remarks))
    nameless = [path for path in paths if parse_name(Path(path).name) is None]
    if not nameless:
        return Listing("pictures with Market-1501 names", root, read_names("train", paths, root, MARKET_FOLDERS))
    notes = []
    if len(nameless) < len(paths):
        notes = [
            f"{len(nameless):,} of {len(paths):,} names do not say person and camera like {MARKET_FOLDERS.example} "
            f"(first: {first_names(nameless)}), so that no person and no camera is known; rename or remove them"
        ]
    return Listing("plain pictures", root, [Record("train", path, None, None) for path in paths], tuple(notes))


FOLDER = DatasetSpec(name="folder", title="your images", read=read_folder, version="own images")
