from pathlib import Path

import pytest
from rich.console import Console

from pipeline.data_check import check_data_set
from reid_core.data.datasets.base import Counts
from reid_core.data.datasets.msmt17 import MSMT17
from reid_core.errors import UserError
from tests.reid_core.data.datasets.test_msmt17 import make_msmt17
from tests.stages.pictures import write_crops, write_people


def _check(name: str, root: Path, capsys: pytest.CaptureFixture[str], *, decode: bool = False) -> str:
    """Check a data set; returns what was printed, in one line."""
    console = Console(width=200)
    try:
        check_data_set(name, root, train_split="trainval", decode=decode, num_cpus=1, console=console)
    finally:
        printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    return printed


def test_a_whole_data_set_beside_the_published_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MSMT17.published, "trainval", Counts(3, 1, 1, 1, 1, 5))
    root = make_msmt17(tmp_path / "MSMT17_V1")
    printed = _check("MSMT17", tmp_path, capsys)
    assert f"msmt17: MSMT17_V1, lists with train and test, in {root}" in printed
    assert "train 3 1 – 3 3 images, 1 persons right" in printed
    assert "gallery 1 1 – 1 1 images right" in printed, "person 0 is a person there"
    assert "terms of use: images of real people" in printed
    assert "all 5 5 5 cameras right" in printed


def test_counts_that_differ_are_shown_before_the_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_people(tmp_path / "market1501")
    with pytest.raises(UserError, match="is not the whole market1501: train 24 instead of 12,936"):
        check_data_set("market", tmp_path, train_split="trainval", decode=False, num_cpus=1, console=Console(width=200))
    printed = capsys.readouterr().out
    assert "WRONG" in printed
    assert "12,936 images, 751 persons" in printed


def test_what_it_looked_for_is_shown_where_something_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (make_msmt17(tmp_path / "MSMT17_V2", ("mask_train_v2", "mask_test_v2")) / "list_gallery.txt").unlink()
    with pytest.raises(UserError, match=r"but not list_gallery\.txt"):
        check_data_set("msmt17", tmp_path, train_split="trainval", decode=False, num_cpus=1, console=Console(width=400))
    printed = capsys.readouterr().out
    [line] = [line for line in printed.splitlines() if "MSMT17_V2 " in line and "lists with mask" in line]
    assert line.rstrip(" │").endswith("list_gallery.txt")


def test_unreadable_images_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_crops(tmp_path / "crops", 40)
    (root / "crop 7.jpg").write_text("no picture")
    printed = _check("folder", root, capsys, decode=True)
    assert "folder: own images, plain pictures" in printed
    assert "cannot be used: crop 7.jpg: it cannot be decoded" in printed
    assert "39 of 40 images decode" in printed


def test_names_that_say_nothing_are_shown_with_their_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_crops(tmp_path / "crops", 12)
    assert "12 of 12 images say neither person nor camera (first: crop 0.jpg); see" in _check("folder", root, capsys)
    for index, path in enumerate(sorted(root.iterdir())[1:]):
        path.rename(root / f"{index:04d}_c1s1_000001_00.jpg")
    printed = _check("folder", root, capsys)
    assert "1 of 12 names do not say person and camera like 0002_c1s1_000451_03.jpg (first: crop 0.jpg)" in printed


def test_one_camera_is_told_to_have_no_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_people(tmp_path / "people")
    assert "evaluation will be skipped" not in _check("folder", root, capsys)
    for path in root.rglob("*_c2*"):
        path.unlink()
    assert "evaluation will be skipped: none of the 4 queries" in _check("folder", root, capsys)


def test_rendered_people_need_no_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="is rendered when it is needed"):
        _check("synthetic", tmp_path, capsys)
