from pathlib import Path

import pytest

from reid_core.data import counts
from reid_core.data.counts import Counts
from reid_core.data.datasets import DUKE_NOTE, canonical_name, find_dataset
from reid_core.errors import UserError
from tests.reid_core.data.test_msmt17 import make_msmt17

_TINY = Counts(1, 1, 1, 1, 1, 2)


def _market(root: Path, camera: int = 1) -> Path:
    for folder, name in (
        ("bounding_box_train", f"0001_c{camera}s1_000001_00.jpg"),
        ("query", f"0002_c{camera}s1_000001_00.jpg"),
        ("bounding_box_test", f"0002_c{camera + 1}s1_000001_00.jpg"),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / name).touch()
    return root


@pytest.fixture
def tiny_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let miniature copies pass for whole ones."""
    for key in (("market1501", "trainval"), ("dukemtmc-reid", "trainval")):
        monkeypatch.setitem(counts.PUBLISHED, key, _TINY)
    monkeypatch.setitem(counts.PUBLISHED, ("msmt17", "trainval"), Counts(3, 1, 1, 1, 1, 5))
    monkeypatch.setitem(counts.PUBLISHED, ("msmt17", "train"), Counts(2, 1, 1, 1, 1, 4))


@pytest.mark.usefixtures("tiny_counts")
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("market1501", "."),
        ("market1501", "market1501"),
        ("market1501", "Market-1501-v15.09.15"),
        ("market1501", "market1501/Market-1501-v15.09.15"),
        ("dukemtmc-reid", "dukemtmc-reid/DukeMTMC-reID"),
        ("dukemtmc-reid", "dukemtmcreid/DukeMTMC-reID"),
        ("dukemtmc-reid", "."),
        ("personx", "personx"),
    ],
)
def test_market_layouts_are_found_wherever_they_lie(tmp_path: Path, name: str, folder: str) -> None:
    _market(tmp_path / folder)
    (tmp_path / "__MACOSX").mkdir()
    found = find_dataset(name, tmp_path)
    assert found.root == tmp_path / folder
    assert [record.split for record in found.records] == ["train", "query", "gallery"]
    assert found.notes == ((DUKE_NOTE,) if name == "dukemtmc-reid" else ())


@pytest.mark.usefixtures("tiny_counts")
@pytest.mark.parametrize("folder", [".", "MSMT17_V1", "msmt17/MSMT17_V1", "MSMT17/MSMT17_V1"])
def test_msmt17_lists_are_found_wherever_they_lie(tmp_path: Path, folder: str) -> None:
    make_msmt17(tmp_path / folder)
    assert len(find_dataset("msmt17", tmp_path).records) == 5
    assert len(find_dataset("msmt17", tmp_path, train_split="train").records) == 4


def test_msmt17_in_market_style(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(counts.PUBLISHED, ("msmt17", "trainval"), _TINY)
    _market(tmp_path / "MSMT17_V1", camera=14)
    found = find_dataset("msmt17", tmp_path)
    assert [record.camera_id for record in found.records] == [13, 13, 14]
    assert found.version == "MSMT17_V1"
    with pytest.raises(UserError, match=r"no list_train\.txt"):
        find_dataset("msmt17", tmp_path, train_split="train")


@pytest.mark.usefixtures("tiny_counts")
def test_two_versions_side_by_side_are_for_the_user_to_choose(tmp_path: Path) -> None:
    make_msmt17(tmp_path / "MSMT17_V1")
    make_msmt17(tmp_path / "MSMT17_V2", ("mask_train_v2", "mask_test_v2"))
    with pytest.raises(UserError, match="more than once"):
        find_dataset("msmt17", tmp_path)


def test_an_incomplete_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train 1 instead of 12,936"):
        find_dataset("market1501", _market(tmp_path))


def test_a_folder_in_market_layout(tmp_path: Path) -> None:
    found = find_dataset("folder", _market(tmp_path))
    assert found.version == "Market-1501 layout"
    assert [record.person_id for record in found.records] == [1, 2, 2]


def test_a_bare_folder_becomes_training_images_recursively(tmp_path: Path) -> None:
    for path in ("b.jpg", "day1/a.PNG", "day1/._a.PNG", ".cache/c.jpg", "__MACOSX/d.jpg", "notes.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    found = find_dataset("folder", tmp_path)
    assert [tuple(record) for record in found.records] == [
        ("train", "b.jpg", None, None),
        ("train", "day1/a.PNG", None, None),
    ]


def test_a_bare_folder_with_market_names_knows_cameras(tmp_path: Path) -> None:
    for name in ("0001_c1s1_000001_00.jpg", "0001_c2s1_000001_00.jpg", "-1_c2s1_000001_00.jpg"):
        (tmp_path / name).touch()
    found = find_dataset("folder", tmp_path)
    assert [(record.person_id, record.camera_id) for record in found.records] == [(1, 0), (1, 1)]


def test_missing_empty_and_wrong_roots_each_have_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        find_dataset("folder", tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        find_dataset("folder", tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture lies in DATA_ROOT"):
        find_dataset("folder", tmp_path / "empty")
    with pytest.raises(UserError, match=r"looked for bounding_box_train.*list_\*.txt.*there are: empty, file"):
        find_dataset("msmt17", tmp_path)


def test_a_market_folder_without_training_images_is_refused(tmp_path: Path) -> None:
    root = _market(tmp_path)
    next((root / "bounding_box_train").iterdir()).unlink()
    with pytest.raises(UserError, match="no training image"):
        find_dataset("folder", root)


def test_train_split_is_for_msmt17(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="msmt17 only"):
        find_dataset("folder", _market(tmp_path), train_split="train")


def test_names_are_forgiving_and_errors_name_the_nearest() -> None:
    assert canonical_name("Market-1501") == "market1501"
    assert canonical_name("DukeMTMC_reID") == "dukemtmc-reid"
    assert canonical_name("MSMT17") == "msmt17"
    with pytest.raises(UserError, match="did you mean msmt17"):
        canonical_name("mstm17")
