from pathlib import Path

import pytest

from reid_core.data.datasets.base import MARKET_FOLDERS, Record
from reid_core.data.datasets.layouts import Candidate, choose, look_into, parse_name, read_images
from reid_core.data.datasets.msmt17 import LISTS_V1
from reid_core.data.datasets.tree import is_image_name
from reid_core.errors import UserError


def test_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "query").mkdir()
    (tmp_path / "bounding_box_test").mkdir()
    (tmp_path / "list_train.txt").mkdir()  # a folder is no list
    market, lists = look_into(tmp_path, (MARKET_FOLDERS, LISTS_V1))
    assert market.missing == ("bounding_box_train",)
    assert market.present == ("query", "bounding_box_test")
    assert market.is_partial
    assert lists.present == ()
    assert not lists.is_partial


def test_the_whole_one_is_chosen_before_a_partial_one() -> None:
    whole = Candidate(Path("a"), MARKET_FOLDERS, ())
    partial = Candidate(Path("b"), LISTS_V1, ("train",))
    assert choose("msmt17", [partial, whole], "nothing") == whole


def test_nothing_two_folders_two_layouts_and_a_gap_each_have_a_sentence() -> None:
    with pytest.raises(UserError, match="nothing there"):
        choose("msmt17", [Candidate(Path("a"), MARKET_FOLDERS, MARKET_FOLDERS.entries)], "nothing there")
    with pytest.raises(UserError, match="found more than once"):
        choose("msmt17", [Candidate(Path("a"), MARKET_FOLDERS, ()), Candidate(Path("b"), MARKET_FOLDERS, ())], "")
    with pytest.raises(UserError, match="a mixes the layouts"):
        choose("msmt17", [Candidate(Path("a"), MARKET_FOLDERS, ()), Candidate(Path("a"), LISTS_V1, ())], "")
    with pytest.raises(UserError, match="has bounding_box_train, bounding_box_test but not query"):
        choose("market1501", [Candidate(Path("a"), MARKET_FOLDERS, ("query",))], "")


def _touch(root: Path, *paths: str) -> Path:
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path in paths:
        (root / path).touch()
    return root


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0002_c1s1_000451_03.jpg", (2, 1)),
        ("-1_c3s2_000451_03.jpg", (-1, 3)),
        ("0001_c2_f0046182.jpg", (1, 2)),
        ("1040_c15_0030.jpg", (1040, 15)),
        ("holiday.jpg", None),
        ("000044_00.jpg", None),
        ("20231122101500_c1.jpg", None),
    ],
)
def test_names_by_hand(name: str, expected: tuple[int, int] | None) -> None:
    assert parse_name(name) == expected


def test_what_is_a_picture() -> None:
    assert is_image_name("a.JPG")
    assert not is_image_name("._a.jpg")
    assert not is_image_name("Thumbs.db")


def test_junk_goes_distractors_stay_cameras_start_at_zero(tmp_path: Path) -> None:
    root = _touch(
        tmp_path,
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "query/0003_c6s1_000001_00.jpg",
        "bounding_box_test/0000_c2s1_000001_00.jpg",
        "bounding_box_test/-1_c2s1_000001_00.jpg",
        "bounding_box_test/0003_c4s1_000001_00.jpg",
        "bounding_box_test/Thumbs.db",
        "bounding_box_test/._0003_c4s1_000001_00.jpg",
    )
    assert read_images(root, MARKET_FOLDERS) == [
        Record("train", "bounding_box_train/0002_c1s1_000451_03.jpg", 2, 0),
        Record("query", "query/0003_c6s1_000001_00.jpg", 3, 5),
        Record("gallery", "bounding_box_test/0000_c2s1_000001_00.jpg", 0, 1),
        Record("gallery", "bounding_box_test/0003_c4s1_000001_00.jpg", 3, 3),
    ]


def test_a_folder_without_any_name_holds_unknown_people(tmp_path: Path) -> None:
    root = _touch(tmp_path, "bounding_box_train/a.jpg", "query/0003_c1s1_000001_00.jpg")
    assert read_images(root, MARKET_FOLDERS)[0] == Record("train", "bounding_box_train/a.jpg", None, None)


def test_one_strange_name_among_good_ones_is_named(tmp_path: Path) -> None:
    root = _touch(tmp_path, "query/0003_c1s1_000001_00.jpg", "query/strange.jpg")
    with pytest.raises(UserError, match=r"strange\.jpg"):
        read_images(root, MARKET_FOLDERS)


def test_cameras_that_start_at_zero_stay(tmp_path: Path) -> None:
    root = _touch(tmp_path, "query/0003_c0s1_000001_00.jpg", "query/0003_c1s1_000001_00.jpg")
    assert [record.camera_id for record in read_images(root, MARKET_FOLDERS)] == [0, 1]


def test_cameras_that_count_from_zero_are_one_camera_in_every_split(tmp_path: Path) -> None:
    root = _touch(
        tmp_path,
        "bounding_box_train/0002_c0s1_000451_03.jpg",
        "query/0003_c1s1_000001_00.jpg",
        "bounding_box_test/0003_c0s1_000001_00.jpg",
    )
    assert [record.camera_id for record in read_images(root, MARKET_FOLDERS)] == [0, 1, 0]
