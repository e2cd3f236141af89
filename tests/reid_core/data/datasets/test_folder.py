import codecs
import shutil
from collections import Counter
from pathlib import Path

import pytest

from reid_core.data.datasets.base import Dataset, Record
from reid_core.data.datasets.find import find_dataset
from reid_core.errors import UserError
from tests.reid_core.data.datasets.test_msmt17 import make_msmt17

_NAMES = ("bounding_box_train", "query", "bounding_box_test")


def _market(root: Path, names: tuple[str, str, str] = _NAMES) -> Path:
    for folder, people, cameras in zip(names, ((1, 2), (3,), (3,)), ((1, 2), (1,), (2,)), strict=True):
        (root / folder).mkdir(parents=True)
        for person in people:
            for camera in cameras:
                (root / folder / f"{person:04d}_c{camera}s1_000001_00.jpg").touch()
    return root


def _splits(dataset: Dataset) -> dict[str, int]:
    return dict(Counter(record.split for record in dataset.records))


@pytest.mark.parametrize("place", [".", "MyReID", "zip/MyReID"])
@pytest.mark.parametrize(
    "names",
    [
        _NAMES,
        ("Bounding_Box_Train", "Query", "Bounding_Box_Test"),
        ("bounding-box-train", "QUERY", "BoundingBoxTest"),
        ("train", "query", "gallery"),
        ("Train", "Query", "Gallery"),
        ("image_train", "image_query", "image_test"),
    ],
    ids=lambda names: names[0],
)
def test_test_images_are_never_trained_on(tmp_path: Path, place: str, names: tuple[str, str, str]) -> None:
    _market(tmp_path / place, names)
    dataset = find_dataset("folder", tmp_path)
    assert _splits(dataset) == {"train": 4, "query": 1, "gallery": 1}
    assert dataset.root == tmp_path / place
    assert {record.camera_id for record in dataset.records} == {0, 1}
    assert all((dataset.root / record.path).is_file() for record in dataset.records)
    assert dataset.notes == ()


@pytest.mark.parametrize("place", [".", "MSMT17_V1", "zip/MSMT17_V1"])
@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2"), ("Train", "Test")])
def test_lists_of_msmt17_are_read(tmp_path: Path, place: str, folders: tuple[str, str]) -> None:
    make_msmt17(tmp_path / place, folders)
    assert _splits(find_dataset("folder", tmp_path)) == {"train": 3, "query": 1, "gallery": 1}


@pytest.mark.parametrize("place", [".", "zip/MyReID"])
@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("query", "has bounding_box_train, bounding_box_test but not query; for an evaluation give all three folders"),
        ("bounding_box_test", "has bounding_box_train, query but not bounding_box_test"),
        ("bounding_box_train", "has query, bounding_box_test but not bounding_box_train"),
    ],
)
def test_what_is_half_there_is_refused(tmp_path: Path, place: str, lost: str, sentence: str) -> None:
    shutil.rmtree(_market(tmp_path / place) / lost)
    with pytest.raises(UserError, match=sentence):
        find_dataset("folder", tmp_path)


@pytest.mark.parametrize("lost", ["list_train.txt", "list_gallery.txt", "test"])
def test_lists_that_are_half_there_are_refused(tmp_path: Path, lost: str) -> None:
    make_msmt17(tmp_path / "MSMT17")
    path = tmp_path / "MSMT17" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=f"but not {lost}; for an evaluation give all of them"):
        find_dataset("folder", tmp_path)


@pytest.mark.parametrize("beside", ["test", "val", "Gallery", "validation"])
def test_a_training_folder_beside_a_test_folder_is_refused(tmp_path: Path, beside: str) -> None:
    for folder in ("train", beside):
        (tmp_path / "own" / folder).mkdir(parents=True)
        (tmp_path / "own" / folder / "a.jpg").touch()
    with pytest.raises(UserError, match=rf"own has train, {beside} but not .*query"):
        find_dataset("folder", tmp_path)


@pytest.mark.parametrize(
    "names", [("bbox_train", "bbox_test"), ("my-train", "my-query", "my-gallery"), ("Training", "Probe")], ids=str
)
def test_folders_that_part_images_in_another_way_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name / "0001").mkdir(parents=True)
        (tmp_path / name / "0001" / "0001C1T0001F001.jpg").touch()
    with pytest.raises(UserError, match=rf"has {names[0]}, .*{names[1]}.*to train on everything put the pictures"):
        find_dataset("folder", tmp_path)


def test_a_root_that_may_not_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        find_dataset("folder", tmp_path / ("x" * 300))
    (tmp_path / "\udcff").mkdir()
    with pytest.raises(UserError, match="is not valid UTF-8, which no table can hold"):
        find_dataset("folder", tmp_path / "\udcff")


@pytest.mark.parametrize("name", ["bounding_box_train", "train", "test", "day 1"])
def test_one_folder_alone_is_trained_on(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.jpg").touch()
    assert _splits(find_dataset("folder", tmp_path)) == {"train": 1}


def test_two_data_sets_and_two_spellings_are_for_the_user_to_choose(tmp_path: Path) -> None:
    _market(tmp_path / "a")
    _market(tmp_path / "b")
    with pytest.raises(UserError, match=r"found more than once .*; point DATA_ROOT at one"):
        find_dataset("folder", tmp_path)
    (tmp_path / "a" / "Query").mkdir()
    with pytest.raises(UserError, match="has Query and query, so it cannot be told which one is query; keep one"):
        find_dataset("folder", tmp_path / "a")


def test_what_lies_beside_a_layout_is_named(tmp_path: Path) -> None:
    _market(tmp_path / "zip")
    for path in ("zip/gt_bbox/0001_c1s1_000001_00.jpg", "more/b.jpg"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    dataset = find_dataset("folder", tmp_path)
    assert len(dataset.records) == 6
    assert dataset.notes == (
        "left out, because they lie beside the folders of the layout: gt_bbox/0001_c1s1_000001_00.jpg, more/b.jpg",
    )


def test_person_folders_inside_and_links_are_read(tmp_path: Path) -> None:
    elsewhere = _market(tmp_path / "disk")
    root = tmp_path / "market"
    for folder in _NAMES:
        for picture in (elsewhere / folder).iterdir():
            place = root / folder / picture.name[:4]
            place.mkdir(parents=True, exist_ok=True)
            (place / picture.name).symlink_to(picture)
    shutil.rmtree(root / "query")
    (root / "query").symlink_to(elsewhere / "query")
    assert _splits(find_dataset("folder", root)) == {"train": 4, "query": 1, "gallery": 1}


def test_person_folders_of_msmt17_may_be_links(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17")
    for folder in ("train", "test"):
        (root / folder / "0000").rename(tmp_path / folder)
        (root / folder / "0000").symlink_to(tmp_path / folder)
    assert len(find_dataset("msmt17", root, verify_size=False).records) == 5


def test_the_lists_cannot_name_a_file_outside_through_folder_either(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path / "MSMT17")
    (tmp_path / "0000_000_01_private.jpg").touch()
    for path in (
        "../../0000_000_01_private.jpg",
        str(tmp_path / "0000_000_01_private.jpg"),
        "..\\..\\0000_000_01_x.jpg",
    ):
        (root / "list_val.txt").write_text(f"{path} 0\n")
        with pytest.raises(UserError, match=r"list_val\.txt holds the line"):
            find_dataset("folder", tmp_path)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: (text + "été/0000_000_01_x.jpg -1\n").encode("latin-1"),
        lambda text: text.replace("/", "\\").replace("\n", "\r\n").encode(),
        lambda text: text.replace(" ", "\t").encode(),
        lambda text: ("./" + text.strip().replace("\n", "\n./")).encode(),
    ],
    ids=["mark", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "windows", "tabs", "dot"],
)
def test_lists_as_programs_write_them(tmp_path: Path, encode) -> None:  # type: ignore[no-untyped-def]
    root = make_msmt17(tmp_path / "MSMT17")
    records = find_dataset("msmt17", root, verify_size=False).records
    for path in root.glob("*.txt"):
        path.write_bytes(encode(path.read_text()))
    assert find_dataset("msmt17", root, verify_size=False).records == records


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", r"list_query\.txt is empty, wanted lines like"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", r"holds the line 'version https"),
        ("<!DOCTYPE html><html>" + "x" * 10_000, r"holds the line '<!DOCTYPE"),
        ("\0\0\0\0", r"list_query\.txt"),
    ],
    ids=["empty", "lfs", "html", "zeros"],
)
def test_files_that_are_no_list(tmp_path: Path, content: str, sentence: str) -> None:
    root = make_msmt17(tmp_path / "MSMT17")
    (root / "list_query.txt").write_text(content)
    with pytest.raises(UserError, match=sentence) as caught:
        find_dataset("msmt17", root, verify_size=False)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "name", ["0002C3T0001F001.jpg", "0002C3F0001X00001.jpg", "0002_C3S1_000451_03.jpg", "0002_c003_00016450_0.jpg"]
)
def test_names_of_other_sets(tmp_path: Path, name: str) -> None:
    for one in ("0001_c1s1_000001_00.jpg", name):
        (tmp_path / one).touch()
    assert Record("train", name, 2, 2) in find_dataset("folder", tmp_path).records


def test_one_stray_name_is_named(tmp_path: Path) -> None:
    for name in ("0001_c1s1_000001_00.jpg", "0001_c2s1_000001_00.jpg", "stray.jpg"):
        (tmp_path / name).touch()
    dataset = find_dataset("folder", tmp_path)
    assert {record.camera_id for record in dataset.records} == {None}
    [note] = dataset.notes
    assert note.startswith("1 of 3 names do not say person and camera like 0002_c1s1_000451_03.jpg (first: stray.jpg)")


def test_only_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.heic").touch()
    with pytest.raises(UserError, match=r"no picture lies in .*does not read them as pictures: 1 \.heic"):
        find_dataset("folder", tmp_path)
