from pathlib import Path

import pytest

from infra import home
from infra.home import Home, check_home, find_home
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
