from pathlib import Path

import pytest

from reid_core.data.market_style import Record
from reid_core.data.msmt17 import has_list_layout, list_layout_version, read_lists
from reid_core.errors import UserError


def make_msmt17(root: Path, folders: tuple[str, str] = ("train", "test")) -> Path:
    """Write the four lists and empty folders; no image, the lists say what should be there."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
    name = "{0:04d}/{0:04d}_{1:03d}_{2:02d}_0303morning_0015_0.jpg {0}\n"
    (root / "list_train.txt").write_text(name.format(0, 0, 1) + name.format(0, 1, 14))
    (root / "list_val.txt").write_text(name.format(0, 2, 15))
    (root / "list_query.txt").write_text(name.format(0, 0, 2))
    (root / "list_gallery.txt").write_text(name.format(0, 1, 3) + "\n")
    return root


@pytest.mark.parametrize(
    ("name", "folders", "version"),
    [
        ("MSMT17_V1", ("train", "test"), "MSMT17_V1"),
        ("MSMT17_V2", ("mask_train_v2", "mask_test_v2"), "MSMT17_V2"),
        ("MSMT17", ("train", "test"), "MSMT17 (lists, version not named)"),
    ],
)
def test_lists_of_every_version(tmp_path: Path, name: str, folders: tuple[str, str], version: str) -> None:
    root = make_msmt17(tmp_path / name, folders)
    assert has_list_layout(root)
    assert list_layout_version(root) == version
    records = read_lists(root, train_split="trainval")
    assert [record.split for record in records] == ["train"] * 3 + ["query", "gallery"]
    assert [record.camera_id for record in records] == [0, 13, 14, 1, 2]
    path = f"{folders[1]}/0000/0000_000_02_0303morning_0015_0.jpg"
    assert records[3] == Record("query", path, 0, 1)


def test_training_without_the_validation_list(tmp_path: Path) -> None:
    records = read_lists(make_msmt17(tmp_path / "MSMT17"), train_split="train")
    assert sum(record.split == "train" for record in records) == 2


def test_a_broken_line_is_shown(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17")
    (root / "list_query.txt").write_text("0000/holiday.jpg 0\n")
    with pytest.raises(UserError, match=r"list_query.txt holds the line '0000/holiday.jpg 0'"):
        read_lists(root, train_split="trainval")


def test_a_missing_list_is_no_list_layout(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17")
    (root / "list_val.txt").unlink()
    assert not has_list_layout(root)
