"""The layouts of MSMT17 that come with list files (V1, V2 and unnamed ones)."""

from pathlib import Path

from reid_core.data.market_style import Record
from reid_core.errors import UserError

LISTS = ("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt")
_FOLDERS = (("mask_train_v2", "mask_test_v2"), ("train", "test"))


def has_list_layout(root: Path) -> bool:
    """Tell whether image folders and all four lists of MSMT17 lie in ``root``."""
    has_lists = all((root / name).is_file() for name in LISTS)
    return has_lists and any((root / train).is_dir() and (root / test).is_dir() for train, test in _FOLDERS)


def list_layout_version(root: Path) -> str:
    """Name the version by the folders that it has and the name that it carries."""
    if (root / "mask_train_v2").is_dir():
        return "MSMT17_V2"
    return "MSMT17_V1" if "v1" in root.name.lower() else "MSMT17 (lists, version not named)"


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


def _record(split: str, folder: str, line: str, source: Path) -> Record:
    try:
        path, person = line.rsplit(maxsplit=1)
        camera = int(Path(path).name.split("_")[2])
        return Record(split, f"{folder}/{path}", int(person), camera - 1)
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{source} holds the line {line!r}, wanted `0000/0000_000_01_0303morning_0015_0.jpg 0` (path, person); "
            "restore the list of the published archive"
        ) from error
