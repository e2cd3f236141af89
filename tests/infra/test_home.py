import os
from pathlib import Path

import pytest

from infra import home
from infra.home import Home, check_home, check_writable, find_home
from reid_core.errors import UserError


def test_an_explicit_folder_wins_and_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENVAR_HOME", str(tmp_path / "named"))
    monkeypatch.chdir(tmp_path)
    assert find_home(Path("here")).root == tmp_path / "here"
    assert find_home().root == tmp_path / "named"


def test_a_source_checkout_keeps_its_runs_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENVAR_HOME", raising=False)
    assert find_home().root == Path(home.__file__).parents[1] / "runs"


def test_checking_writes_nothing(tmp_path: Path) -> None:
    check_home(Home(tmp_path / "not" / "yet"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "MIN_FREE_BYTES", 1 << 62)
    with pytest.raises(UserError, match="free disk space are wanted"):
        check_home(Home(tmp_path))


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        check_home(Home(tmp_path / "file" / "home"))


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_writable(tmp_path / "new" / "file.txt", "") == tmp_path
    (tmp_path / "file").write_text("")
    assert check_writable(tmp_path / "file", "") == tmp_path
    with pytest.raises(UserError, match="is a file; take another"):
        check_writable(tmp_path / "file" / "below", "take another")
    with pytest.raises(UserError, match=r"cannot be written \(File name too long\); take another"):
        check_writable(tmp_path / ("x" * 300), "take another")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # tests may run as root
    with pytest.raises(UserError, match=r"no permission to write into .*; take another"):
        check_writable(tmp_path / "new", "take another")


def test_a_home_of_which_a_part_is_closed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    home.artifacts.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != home.artifacts)
    with pytest.raises(UserError, match=r"no permission to write into .*artifacts"):
        check_home(home)


def test_a_user_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENVAR_HOME", "~nobody-of-this-name/runs")
    with pytest.raises(UserError, match="the home of a user that this machine does not know"):
        find_home()
