from pathlib import Path

import pytest

from reid_core.data.datasets.base import Layout, Record
from reid_core.data.datasets.layouts import read_images
from reid_core.data.datasets.msmt17 import LISTS_V1, LISTS_V2, find_version
from reid_core.errors import UserError


def make_msmt17(root: Path, folders: tuple[str, str] = ("train", "test"), *, num_test_people: int = 1) -> Path:
    """Write the four lists and the images that they name, empty."""
    name = "{0:04d}/{0:04d}_{1:03d}_{2:02d}_0303morning_0015_0.jpg"
    listed = {
        "list_train.txt": (folders[0], [name.format(0, 0, 1), name.format(0, 1, 14)]),
        "list_val.txt": (folders[0], [name.format(0, 2, 15)]),
        "list_query.txt": (folders[1], [name.format(person, 0, 2) for person in range(num_test_people)]),
        "list_gallery.txt": (folders[1], [name.format(person, 1, 3) for person in range(num_test_people)]),
    }
    for file, (folder, images) in listed.items():
        for image in images:
            (root / folder / image).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / image).touch()
        (root / file).write_text("".join(f"{image} {int(image[:4])}\n" for image in images) + "\n")
    return root


@pytest.mark.parametrize(
    ("name", "layout", "version"),
    [
        ("MSMT17_V1", LISTS_V1, "MSMT17_V1"),
        ("MSMT17_V1/MSMT17", LISTS_V1, "MSMT17_V1"),
        ("MSMT17_V2", LISTS_V2, "MSMT17_V2"),
        ("MSMT17", LISTS_V1, "MSMT17 (version not named)"),
    ],
)
def test_lists_of_every_version(tmp_path: Path, name: str, layout: Layout, version: str) -> None:
    root = make_msmt17(tmp_path / name, (layout.folders["train"], layout.folders["query"]))
    assert find_version(root) == version
    records = read_images(root, layout)
    assert [record.split for record in records] == ["train"] * 3 + ["query", "gallery"]
    assert [record.camera_id for record in records] == [0, 13, 14, 1, 2]
    path = f"{layout.folders['query']}/0000/0000_000_02_0303morning_0015_0.jpg"
    assert records[3] == Record("query", path, 0, 1)


def test_lists_that_name_images_of_another_version(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17")
    (root / "test" / "0000" / "0000_001_03_0303morning_0015_0.jpg").rename(root / "elsewhere.jpg")
    with pytest.raises(UserError, match=r"1 of 5 images that the lists in .* name are not there"):
        read_images(root, LISTS_V1)


def test_training_without_the_validation_list(tmp_path: Path) -> None:
    records = read_images(make_msmt17(tmp_path / "MSMT17"), LISTS_V1, train_split="train")
    assert sum(record.split == "train" for record in records) == 2


def test_a_broken_line_is_shown(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17")
    (root / "list_query.txt").write_text("0000/holiday.jpg 0\n")
    with pytest.raises(UserError, match=r"list_query.txt holds the line '0000/holiday.jpg 0'"):
        read_images(root, LISTS_V1)
