from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reid_core.data.datasets.base import Dataset, Naming, Record
from reid_core.data.datasets.find import find_dataset
from reid_core.errors import UserError


def _touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def _find(root: Path, **naming: object) -> Dataset:
    return find_dataset("folder", root, naming=Naming(**naming))  # type: ignore[arg-type]


def test_cameras_by_folder(tmp_path: Path) -> None:
    found = _find(_touch(tmp_path, "hall/a.jpg", "entrance/b.jpg", "entrance/day 2/c.jpg"), camera_from="folder")
    assert found.records == (
        Record("train", "entrance/b.jpg", None, 0),
        Record("train", "entrance/day 2/c.jpg", None, 0),
        Record("train", "hall/a.jpg", None, 1),
    )
    assert found.notes == ("read as cameras, with their images: entrance (2), hall (1)",)


def test_cameras_that_are_numbers_are_counted_in_their_order(tmp_path: Path) -> None:
    found = _find(_touch(tmp_path, "cam/10/a.jpg", "2/b.jpg", "10/c.jpg", "1/d.jpg"), camera_from="folder")
    assert [record.camera_id for record in found.records] == [0, 1, 2, 3], "with a name among them, by name"
    (tmp_path / "cam" / "10" / "a.jpg").unlink()
    found = _find(tmp_path, camera_from="folder")
    assert [(record.path, record.camera_id) for record in found.records] == [
        ("1/d.jpg", 0),
        ("10/c.jpg", 2),
        ("2/b.jpg", 1),
    ]


def test_cameras_by_folder_below_train_query_and_gallery(tmp_path: Path) -> None:
    _touch(tmp_path, "train/b/p1.jpg", "query/a/p2.jpg", "gallery/b/p2.jpg")
    found = _find(tmp_path, camera_from="folder", pattern=r"p(?P<person>\d+)")
    assert found.records == (
        Record("train", "train/b/p1.jpg", 1, 1),
        Record("query", "query/a/p2.jpg", 2, 0),
        Record("gallery", "gallery/b/p2.jpg", 2, 1),
    )


def test_names_by_a_pattern(tmp_path: Path) -> None:
    _touch(tmp_path, "person12_cam3_1.jpg", "person12_cam7_1.jpg", "person-1_cam3_9.jpg")
    found = _find(tmp_path, pattern=r"(?P<person>-?\d+)_cam(?P<camera>\d+)")
    assert [record[2:] for record in found.records] == [(12, 0, None), (12, 1, None)], "a negative person is junk"


def test_a_pattern_with_a_slash_looks_at_the_path(tmp_path: Path) -> None:
    _touch(tmp_path, "anna/north/t4_1.jpg", "bob/south/t4_2.jpg")
    found = _find(tmp_path, pattern=r"(?P<person>\w+)/(?P<camera>\w+)/t(?P<tracklet>\d+)")
    assert [record[2:] for record in found.records] == [(0, 0, 0), (1, 1, 0)]
    assert found.notes[0] == "2 images lie in 1 tracklets: training is told that each is one person"


@pytest.mark.parametrize(
    ("naming", "sentence"),
    [
        ({"pattern": "("}, "is no regular expression"),
        ({"pattern": r"cam\d+"}, "names none, wanted groups among person, camera and tracklet"),
        ({"pattern": r"(?P<cam>\d+)"}, "has cam, wanted groups among"),
        ({"pattern": r"cam(?P<camera>\d+)"}, r"1 of 2 names .* do not fit .* \(first: b\.jpg\); correct it"),
        ({"pattern": r"(?P<camera>\d)", "camera_from": "folder"}, "the camera comes from the folder or from the group"),
        ({"camera_from": "folder"}, r"2 of 2 pictures lie in .* itself \(first: b\.jpg, cam1\.jpg\)"),
        ({"camera_from": "folder", "table": Path("t.csv")}, "from a table, or from names and folders"),
        ({"table": Path("gone.csv")}, r"the table gone\.csv does not exist; wanted a CSV"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, naming: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        _find(_touch(tmp_path, "cam1.jpg", "b.jpg"), **naming)


def test_benchmarks_have_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.naming is for DATASET=folder"):
        find_dataset("market1501", tmp_path, naming=Naming(camera_from="folder"))


_EXPECTED = (
    Record("train", "a.jpg", 7, 0, 0),
    Record("train", "b.jpg", 7, 1, None),
    Record("train", "day/c.jpg", None, 1, 0),
)


@pytest.mark.parametrize(
    "content",
    [
        b"path,camera,person,tracklet\na.jpg,hall,7,x\nb.jpg,yard,7,\nday/c.jpg,yard,,x\n",
        b"\xef\xbb\xbfFile;Cam ID;PID;Track\r\n.\\a.jpg;hall;007;x\r\nb.jpg;yard;7; \r\nday\\c.jpg;yard;;x\r\n",
        "path\tcamera_id\tperson_id\ttracklet_id\na.jpg\t1\t7\t3\nb.jpg\t5\t7\t\nday/c.jpg\t5\t\t3\n".encode("utf-16"),
        "path,camera,person,tracklet\na.jpg,entrée,7,x\nb.jpg,hall,7,\nday/c.jpg,hall,,x\n".encode("latin-1"),
    ],
    ids=["plain", "windows", "utf-16", "latin-1"],
)
def test_a_table_as_programs_write_it(tmp_path: Path, content: bytes) -> None:
    _touch(tmp_path / "crops", "a.jpg", "b.jpg", "day/c.jpg")
    (tmp_path / "table.csv").write_bytes(content)
    assert _find(tmp_path / "crops", table=tmp_path / "table.csv").records == _EXPECTED


def test_a_parquet_table_with_splits(tmp_path: Path) -> None:
    root = _touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "more.jpg")
    columns = {"path": [str(root / "a.jpg"), "b.jpg", "c.jpg", "d.jpg"], "camera": [3, 3, 3, 9]}
    columns |= {"person": [1.0, None, 0.0, 0.0], "split": ["train", "train", "query", "gallery"], "light": [1, 2, 3, 4]}
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    found = _find(root, table=tmp_path / "table.parquet")
    assert found.records == (
        Record("train", "a.jpg", 1, 0),
        Record("train", "b.jpg", None, 0),
        Record("query", "c.jpg", 0, 0),
        Record("gallery", "d.jpg", 0, 1),
    )
    assert found.notes[0] == "table.parquet: the columns light are not read"
    assert found.notes[-1] == "left out, because table.parquet does not name them: more.jpg"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "has the columns none, wanted path"),
        ("camera,person\n1,2\n", "has the columns camera, person, wanted path"),
        ("path,camera\n", "has no row"),
        ("path,camera\na.jpg,1\na.jpg,2\n", r"names a\.jpg more than once"),
        ("path,camera\na.jpg,1\nb.jpg\n", "row 3 has 1 fields, the heading 2"),
        ("path,cam,camera\na.jpg,1,1\n", "has two columns for camera"),
        ("path\na.jpg\ngone.jpg\n", r"1 of 2 images that .*table\.csv in .* name are not there \(first: gone\.jpg\)"),
        ("path\n../private.jpg\n", r'names the file "\.\./private\.jpg", wanted one below'),
        ("path\n..\\private.jpg\n", r'names the file "\.\./private\.jpg", wanted one below'),
        ("path\n/etc/passwd\n", 'names the file "/etc/passwd", wanted one below'),
        ("path\n~/a.jpg\n", 'names the file "~/a.jpg", wanted one below'),
        ("path\nC:\\a.jpg\n", 'names the file "C:/a.jpg", wanted one below'),
        ("path\nnotes.txt\n", r'names "notes\.txt", which is no picture'),
        ("path,split\na.jpg,test\n", "has the split test, wanted train, query or gallery"),
        ("\0\0\0\0", "table"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, content: str, sentence: str) -> None:
    _touch(tmp_path, "private.jpg", "crops/a.jpg", "crops/b.jpg", "crops/notes.txt")
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        _find(tmp_path / "crops", table=tmp_path / "table.csv")


def test_a_file_that_is_no_parquet_table(tmp_path: Path) -> None:
    (_touch(tmp_path, "a.jpg") / "table.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"table\.parquet cannot be read .*; wanted a CSV or Parquet file"):
        _find(tmp_path, table=tmp_path / "table.parquet")
