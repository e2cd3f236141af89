"""The data sets that genvar knows, and finding one of them on disk, in any layout it is passed around in."""

import difflib
from pathlib import Path

from reid_core.data.datasets.base import Dataset, DatasetSpec, Layout, Naming, count, verify_counts
from reid_core.data.datasets.dukemtmc import DUKEMTMC
from reid_core.data.datasets.folder import FOLDER
from reid_core.data.datasets.layouts import Candidate, choose, look_into, plain, read_images
from reid_core.data.datasets.market1501 import MARKET1501
from reid_core.data.datasets.msmt17 import MSMT17
from reid_core.data.datasets.personx import PERSONX
from reid_core.errors import UserError

DATASETS = (MARKET1501, DUKEMTMC, MSMT17, PERSONX, FOLDER)
SYNTHETIC = "synthetic"  # rendered, not found
NAMES = (SYNTHETIC, *(spec.name for spec in DATASETS))


def describe_names(*, synthetic: bool = True) -> str:
    """Return the names of all data sets in words, for help texts."""
    names = NAMES if synthetic else NAMES[1:]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def canonical_name(name: str) -> str:
    """Return the data set that is meant by a name (case and punctuation do not matter)."""
    known = {plain(SYNTHETIC): SYNTHETIC}
    known |= {plain(alias): spec.name for spec in DATASETS for alias in (spec.name, *spec.aliases)}
    wanted = plain(name)
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {known[near[0]]}? " if near else ""
    raise UserError(f"unknown data set {name!r}: {hint}choose one of {', '.join(NAMES)}")


def spec_of(name: str) -> DatasetSpec:
    """Return the description of a data set, by its canonical name."""
    return next(spec for spec in DATASETS if spec.name == name)


def find_dataset(
    name: str,
    data_root: Path,
    *,
    train_split: str = "trainval",
    verify_size: bool = True,
    naming: Naming = Naming(),  # noqa: B008 - frozen
) -> Dataset:
    """Find the images of a data set; nothing is decoded and nothing is changed.

    Args:
        name: One of ``NAMES`` but ``synthetic``.
        data_root: Folder that holds the data set, or the data set's own folder.
        train_split: ``trainval``, or ``train`` to leave the validation part out of a data set that has one.
        verify_size: Whether a benchmark of another size than the published one is refused.
        naming: How own photographs say person and camera.

    Returns:
        Its images.
    """
    spec = spec_of(name)
    root = data_root.expanduser().absolute()
    if train_split != "trainval" and not spec.has_validation:
        able = " and ".join(other.name for other in DATASETS if other.has_validation)
        raise UserError(f"data.train_split={train_split} is for {able} only, with a validation list; remove it")
    if naming != Naming() and spec.read is None:
        raise UserError(f"data.naming is for DATASET=folder: the names of {spec.title} are known; leave it out")
    try:
        _refuse_no_folder(spec, root)
        dataset = _read(spec, root, train_split, naming)
    except OSError as error:
        where = f"{error.filename} may not" if isinstance(error, PermissionError) else f"{error.filename} cannot"
        raise UserError(f"{where} be read ({error.strerror}); change its permissions, or remove it") from error
    if not any(record.split == "train" for record in dataset.records):
        raise UserError(
            f"no training image lies in {dataset.root} (looked for .jpg, .png, .bmp, .webp, .gif and .tif files)"
        )
    if verify_size:
        verify_counts(spec, train_split, dataset.records, dataset.root)
    return dataset


def _refuse_no_folder(spec: DatasetSpec, root: Path) -> None:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        sentence = f"the name of DATA_ROOT {root} is not valid UTF-8, which no table can hold; rename the folder"
        raise UserError(sentence) from error
    if not root.is_dir():
        wanted = spec.title if spec.read else spec.name
        came = "is a file" if root.exists() else "does not exist"
        raise UserError(f"DATA_ROOT {root} {came}; wanted the folder that holds {wanted}")


def candidates(spec: DatasetSpec, data_root: Path) -> list[Candidate]:
    """Return every folder that is looked into for a benchmark, with what is there and what is missing."""
    root = data_root.expanduser().absolute()
    near = [root, *_children(root, tuple(plain(name) for name in (spec.name, *spec.aliases)))]
    folders = [*near, *(child for folder in near[1:] for child in _children(folder, ("",)))]
    return [candidate for folder in folders for candidate in look_into(folder, spec.layouts)]


def _read(spec: DatasetSpec, root: Path, train_split: str, naming: Naming) -> Dataset:
    notes = [spec.note] if spec.note else []
    if spec.read is not None:
        layout_name, root, records, remarks = spec.read(root, naming)
        notes += remarks
    else:
        root, layout = _find_layout(spec, root, train_split)
        layout_name, records = layout.name, read_images(root, layout, train_split=train_split)
    version = spec.find_version(root) if spec.find_version else spec.version
    if spec.accepts_other_sizes and count(records) != spec.published[train_split]:
        version = f"{spec.title} of {len(records):,} images"
        notes.append(f"the number of images of this edition of {spec.title} cannot be verified: nobody publishes it")
    return Dataset(spec.name, version, layout_name, root, tuple(records), tuple(notes), spec.distractors)


def _find_layout(spec: DatasetSpec, root: Path, train_split: str) -> tuple[Path, Layout]:
    looked_for = " or ".join(f"{layout.name} ({', '.join(layout.entries)})" for layout in spec.layouts)
    nothing = (
        f"{spec.name} was not found under DATA_ROOT {root}: looked for {looked_for} in it and in its folders named "
        f"like {plain(spec.name)} (there are: {_listing(root)})"
    )
    folder, layout, _ = choose(spec.name, candidates(spec, root), nothing)
    if train_split != "trainval" and "val" not in layout.folders:
        raise UserError(
            f"{folder} has {layout.name}, which do not say which images are for validation, "
            f"so data.train_split={train_split} cannot be told apart; remove it"
        )
    return folder, layout


def _children(folder: Path, beginnings: tuple[str, ...]) -> list[Path]:
    children = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))
    return [child for child in children if plain(child.name).startswith(beginnings)]


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"
