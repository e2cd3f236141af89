import os
from pathlib import Path

import pytest

from reid_core.data.datasets.tree import Tree, look_through, mark_results
from reid_core.errors import UserError


def _touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Close folders, also for a user who may enter every folder."""
    names: set[Path] = set()
    scandir = os.scandir

    def refuse(path: Path) -> "os.ScandirIterator[str]":  # type: ignore[name-defined]
        if path in names:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("reid_core.data.datasets.tree.os.scandir", refuse)
    return names


def test_files_below_a_folder_by_hand(tmp_path: Path) -> None:
    names = ("b.jpg", "c/a.PNG", "c/d/x.jfif", "c/x.gif", "c/x.jpe", "c/._x.jpg", ".hidden/y.jpg", "__MACOSX/z.jpg")
    _touch(tmp_path, *names, "readme.txt", "Thumbs.db", "x.heic", "film.mp4", "no ending")
    assert look_through(tmp_path) == Tree(
        folders=("c", "c/d"),
        pictures=("b.jpg", "c/a.PNG", "c/d/x.jfif", "c/x.gif", "c/x.jpe"),
        others=("film.mp4", "no ending", "x.heic"),
        results=(),
    )
    [note] = look_through(tmp_path).notes()
    assert note.startswith("left out, because genvar does not read them as pictures: 1 .mp4, 1 no ending, 1 .heic")


def test_links_are_followed_and_every_folder_is_listed_once(tmp_path: Path) -> None:
    elsewhere = _touch(tmp_path / "elsewhere", "cam2/c.jpg", "d.jpg")
    root = _touch(tmp_path / "crops", "cam1/a.jpg", "cam1/b.jpg")
    (root / "also cam1").symlink_to(root / "cam1")
    (root / "cam2").symlink_to(elsewhere / "cam2")
    (root / "d.jpg").symlink_to(elsewhere / "d.jpg")
    assert look_through(root).pictures == ("cam1/a.jpg", "cam1/b.jpg", "cam2/c.jpg", "d.jpg")


def test_links_in_a_circle_come_to_an_end_and_lead_to_nothing_around_the_root(tmp_path: Path) -> None:
    root = _touch(tmp_path / "crops", "cam1/a.jpg", "cam2/b.jpg")
    _touch(tmp_path, "private.jpg")
    for target in (root, root / "cam2", tmp_path, Path("/")):
        (root / "cam1" / f"to {target.name}").symlink_to(target)
    (root / "cam2" / "back").symlink_to(root / "cam1")
    assert look_through(root).pictures == ("cam1/a.jpg", "cam2/b.jpg")


def test_a_root_that_is_a_link(tmp_path: Path) -> None:
    _touch(tmp_path / "crops", "cam1/a.jpg")
    (tmp_path / "link").symlink_to("crops")
    assert look_through(tmp_path / "link").pictures == ("cam1/a.jpg",)


def test_many_links_between_folders_take_no_time(tmp_path: Path) -> None:
    for name in map(str, range(12)):
        _touch(tmp_path, f"{name}/{name}.jpg")
        for other in map(str, range(12)):  # 12! ways through them
            (tmp_path / name / f"to {other}").symlink_to(tmp_path / other)
    assert len(look_through(tmp_path).pictures) == 12


def test_closed_folders_are_named(tmp_path: Path, closed: set[Path]) -> None:
    _touch(tmp_path, "cam1/a.jpg", "cam2/b.jpg", "lost+found/x.jpg")
    closed |= {tmp_path / "cam2", tmp_path / "lost+found"}
    with pytest.raises(UserError, match=r"^1 folders or links .* \(first: cam2: Permission denied\); change their"):
        look_through(tmp_path)


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    (tmp_path / "notes.txt").symlink_to("gone")
    (tmp_path / "b.jpg").symlink_to("gone.jpg")
    assert look_through(tmp_path).pictures == ("a.jpg", "b.jpg"), "the check of the images names the second"
    (tmp_path / "cam2").symlink_to("unmounted")
    with pytest.raises(UserError, match="cam2: No such file"):
        look_through(tmp_path)


def test_pipes_and_devices_are_no_pictures(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    tree = look_through(tmp_path)
    assert (tree.pictures, tree.others) == (("a.jpg",), ("pipe.jpg", "zero.jpg"))


def test_a_folder_with_the_name_of_a_picture_is_a_folder(tmp_path: Path) -> None:
    assert look_through(_touch(tmp_path, "a.jpg/b.jpg")).pictures == ("a.jpg/b.jpg",)


def test_what_genvar_wrote_is_left_out_and_named(tmp_path: Path) -> None:
    _touch(tmp_path, "a.jpg", "sheet.png", "found/hits.png", "found/hits.parquet", "found/b.jpg", "other/hits.png")
    _touch(tmp_path, "runs/mlflow.db", "runs/artifacts/x/people.png", "runs/work/y.png", "runs/own.jpg")
    mark_results(tmp_path, ["sheet.png"])
    mark_results(tmp_path, ["gone.png"])
    tree = look_through(tmp_path)
    assert tree.pictures == ("a.jpg", "found/b.jpg", "other/hits.png", "runs/own.jpg")
    assert tree.results == ("found/hits.parquet", "found/hits.png", "runs/artifacts", "runs/work", "sheet.png")
    assert tree.notes() == [
        "left out, because genvar wrote them: found/hits.parquet, found/hits.png, runs/artifacts and 2 more"
    ]


def test_a_mark_that_never_ends_is_not_read(tmp_path: Path) -> None:
    _touch(tmp_path, "a/a.jpg", "b/b.jpg")
    os.mkfifo(tmp_path / "a" / ".genvar-results")
    (tmp_path / "b" / ".genvar-results").symlink_to("/dev/zero")
    assert look_through(tmp_path).pictures == ("a/a.jpg", "b/b.jpg")


def test_a_mark_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep\n")
    (tmp_path / ".genvar-results").symlink_to("precious")
    mark_results(tmp_path, ["sheet.png"])
    assert (tmp_path / "precious").read_text() == "keep\n"
    assert not (tmp_path / ".genvar-results").is_symlink()
