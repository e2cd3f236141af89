import multiprocessing
import time
from pathlib import Path

import pytest

from reid_core.errors import UserError
from reid_core.mesh.body import build_once, default_folder


def _slow_build(folder: Path) -> str:
    """Write in place, as Anny does, and fail when somebody else's half-written file is there."""
    path = folder / "data"
    if path.exists():
        text = path.read_text()
        assert text == "whole", text
        return text
    with path.open("w") as file:
        file.write("wh")
        file.flush()
        time.sleep(0.3)
        file.write("ole")
    with (folder / "count").open("a") as file:
        file.write("x")
    return "whole"


def _worker(folder: Path) -> str:
    return build_once(folder, "body", lambda: _slow_build(folder))


def test_workers_that_start_together_build_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(_worker, [folder] * 3, chunksize=1) == ["whole"] * 3
    assert (folder / "count").read_text() == "x"


def test_what_a_killed_build_left_is_thrown_away(tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    def killed() -> str:
        (folder / "data").write_text("wh")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(folder, "body", killed)
    assert build_once(folder, "body", lambda: _slow_build(folder)) == "whole"


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder("1.2") == tmp_path / "genvar" / "anny-1.2"


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        build_once(tmp_path / "file" / "cache", "body", str)
