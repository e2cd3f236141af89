import fcntl
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from infra.home import Home
from infra.tracking.mlflow import mlflow_client
from infra.tracking.store import RunStore
from pipeline.cli import app
from pipeline.gc import collect, disk_use

_QUIET = Console(quiet=True)


def _finish(store: RunStore, folder: Path, parent: str | None = None) -> str:
    run_id = store.start("joint", params={}, tags={"stage": "joint", "fingerprint": folder.name}, parent=parent)
    folder.mkdir()
    (folder / "stage.json").write_text("{}")
    (folder / "weights").write_bytes(b"w" * 20_000)
    store.upload(run_id, folder)
    store.end(run_id, "FINISHED")
    return run_id


def _work(home: Home, name: str, run_id: str | None, *, complete: bool = False) -> Path:
    folder = home.work / f"{name}-{'0123456789abcdef'}"
    for part in ("out", "scratch"):
        (folder / part).mkdir(parents=True)
        (folder / part / "epoch").write_bytes(b"c" * 30_000)
    if run_id is not None:
        (folder / "run_id").write_text(run_id)
    if complete:
        (folder / "out" / "stage.json").write_text("{}")
    return folder


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")}


def test_ten_runs_free_what_is_said_and_keep_what_pipelines_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path / "home")
    store = RunStore(home, f"sqlite:///{home.database}", "people")
    client = mlflow_client(store.uri)
    pipeline = store.start("pipeline", params={}, tags={"kind": "pipeline"}, parent=None)
    kept = [_finish(store, tmp_path / f"f{i}", pipeline) for i in range(3)]
    deleted = [_finish(store, tmp_path / f"d{i}") for i in range(2)]
    reused = _finish(store, tmp_path / "reused")
    store.tag(pipeline, "reused.data", reused)
    for run_id in (*deleted, reused):
        client.delete_run(run_id)
    states = {state: store.start("joint", params={}, tags={}, parent=None) for state in ("KILLED", "RUNNING", "away")}
    store.end(states["KILLED"], "KILLED")
    store.tag(states["away"], "genvar.host", "another machine")
    goes = [
        _work(home, "identity", kept[0]),
        _work(home, "joint", states["KILLED"]),
        _work(home, "mesh", None),
        *(home.artifacts / "people" / run_id for run_id in deleted),
    ]
    unstored = _work(home, "generator", states["KILLED"], complete=True)
    stays = [_work(home, "cluster", states["away"]), _work(home, "data", states["RUNNING"])]
    goes.append(unstored / "scratch")
    (home.work / "journal").mkdir()
    (home.work / "journal" / "x.jsonl").write_text("{}\n")
    for name in ("a" * 32, f"{'b' * 32}.part", f"{'c' * 32}.part"):
        (home.cache / name).mkdir(parents=True)
        (home.cache / name / "weights").write_bytes(b"w" * 10_000)
    os.utime(home.cache / f"{'b' * 32}.part", (0, 0))
    goes.append(home.cache / f"{'b' * 32}.part")
    before = _files(home.root)

    with closing(Path(f"{stays[1]}.lock").open("w")) as lock:  # a command that works on it
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = collect(home, dry_run=True, stopped=True, console=_QUIET)
        assert _files(home.root) == before
        use = disk_use([home.root])
        assert said == collect(home, dry_run=False, stopped=True, console=_QUIET)
        assert use - disk_use([home.root]) == said >= 5 * 30_000 + 2 * 20_000
        assert collect(home, dry_run=False, stopped=True, console=_QUIET) == 0
    expected = {path for path in before if not any(path.is_relative_to(folder) for folder in goes)}
    assert _files(home.root) == expected
    for i, run_id in enumerate(kept):
        assert store.find_finished({"joint": f"f{i}"})["joint"].run_id == run_id
    client.restore_run(reused)
    assert (store.artifacts_dir(store.finished(reused)) / "weights").is_file()
    assert (unstored / "out" / "stage.json").is_file()


def test_stopped_stages_go_only_when_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path)
    folder = _work(home, "joint", None)
    command = ["gc", "--home", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "0.0 MB freed" in done.stdout
    assert folder.is_dir()
    assert not home.database.exists()
    assert "would be freed" in CliRunner().invoke(app, [*command, "--stopped", "--dry-run"]).stdout
    assert folder.is_dir()
    assert CliRunner().invoke(app, [*command, "--stopped"]).exit_code == 0
    assert not folder.exists()


def test_a_file_that_is_linked_from_elsewhere_is_not_counted(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    empty = disk_use([folder])
    (tmp_path / "outside").write_bytes(b"x" * 50_000)
    os.link(tmp_path / "outside", folder / "inside")
    (folder / "link").symlink_to(tmp_path / "outside")
    assert disk_use([folder]) - empty < 50_000
    shutil.rmtree(folder)
    assert (tmp_path / "outside").stat().st_size == 50_000
