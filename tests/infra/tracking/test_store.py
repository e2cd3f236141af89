import json
import os
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from infra.home import Home
from infra.tracking.address import check_store, known_store, tracking_uri
from infra.tracking.mlflow import mlflow_client
from infra.tracking.store import RunStore
from reid_core.errors import UserError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    home = Home(tmp_path_factory.mktemp("home"))
    return RunStore(home, f"sqlite:///{home.database}", "people")


def _finish(store: RunStore, folder: Path, fingerprint: str, *, marker: bool = True) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text("{}")
    if marker:
        (folder / "stage.json").write_text("{}")
    run_id = store.start("data", params={"data.seed": "0"}, tags={"fingerprint": fingerprint}, parent=None)
    store.upload(run_id, folder)
    store.end(run_id, "FINISHED")
    return run_id


def test_looking_into_a_store_that_is_not_there_creates_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert RunStore(home, f"sqlite:///{home.database}", "people").find_finished({"data": "ab"}) == {}
    assert not home.root.exists()


def test_a_finished_run_is_found_again_with_its_artifacts_in_place(store: RunStore, tmp_path: Path) -> None:
    run_id = _finish(store, tmp_path / "out", "f1")
    found = store.find_finished({"data": "f1", "mesh": "f2"})
    assert set(found) == {"data"}
    assert found["data"].run_id == run_id
    folder = store.artifacts_dir(found["data"])
    assert folder.is_relative_to(store.home.artifacts)
    assert (folder / "summary.json").read_text() == "{}"


def test_unfinished_or_incomplete_runs_are_not_found(store: RunStore, tmp_path: Path) -> None:
    store.start("data", params={}, tags={"fingerprint": "f3"}, parent=None)
    _finish(store, tmp_path / "out", "f4", marker=False)
    assert store.find_finished({"data": "f3", "mesh": "f4"}) == {}


def test_a_run_whose_artifacts_were_deleted_is_not_found(store: RunStore, tmp_path: Path) -> None:
    _finish(store, tmp_path / "out", "f5")
    (store.artifacts_dir(store.find_finished({"data": "f5"})["data"]) / "stage.json").unlink()
    assert store.find_finished({"data": "f5"}) == {}


def test_the_newest_run_is_found(store: RunStore, tmp_path: Path) -> None:
    _finish(store, tmp_path / "out", "f6")
    time.sleep(0.01)
    newest = _finish(store, tmp_path / "out", "f6")
    assert store.find_finished({"data": "f6"})["data"].run_id == newest


def test_params_and_parents(store: RunStore) -> None:
    parent = store.start("pipeline", params={f"stage.key{i}": str(i) for i in range(150)}, tags={}, parent=None)
    child = store.start("data", params={"short": "x" * 6000}, tags={"stage": "data"}, parent=parent)
    client = mlflow_client(store.uri)
    assert len(client.get_run(parent).data.params) == 150
    run = client.get_run(child)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert len(run.data.params["short"]) == 6000


def test_a_parameter_of_a_gigabyte_is_refused_and_opens_no_run(store: RunStore) -> None:
    class Huge(str):
        def __len__(self) -> int:
            return 2**30

    store.start("data", params={"short": "1"}, tags={}, parent=None)
    client = mlflow_client(store.uri)
    [experiment] = [found for found in client.search_experiments() if found.name == store.experiment]
    before = len(client.search_runs([experiment.experiment_id]))
    with pytest.raises(UserError, match=r"at most 6,000 characters is wanted for weights, but 1,073,741,824 came"):
        store.start("data", params={"weights": Huge()}, tags={}, parent=None)
    assert len(client.search_runs([experiment.experiment_id])) == before


def test_secrets_do_not_reach_the_store(store: RunStore) -> None:
    params = {"data.root": "s3://key:hunter2@bucket/data", "data.access_token": "hunter2"}
    tags = {"source": "https://hunter2@example.org/code.git", "signed": "https://example.org/a?x=1&X-Token=hunter2"}
    run = mlflow_client(store.uri).get_run(store.start("data", params=params, tags=tags, parent=None))
    assert run.data.params == {"data.root": "s3://***@bucket/data", "data.access_token": "***"}
    assert run.data.tags["source"] == "https://***@example.org/code.git"
    assert run.data.tags["signed"] == "https://example.org/a?x=1&X-Token=***"
    everything = b"".join(path.read_bytes() for path in store.home.root.rglob("*") if path.is_file())
    assert everything
    assert b"hunter2" not in everything


def test_runs_of_dead_processes_are_closed_and_those_of_living_ones_are_not(store: RunStore) -> None:
    alive = store.start("data", params={}, tags={}, parent=None)
    dead = store.start("mesh", params={}, tags={}, parent=None)
    reused_pid = store.start("joint", params={}, tags={}, parent=None)
    elsewhere = store.start("joint", params={}, tags={}, parent=None)
    store.tag(dead, "genvar.process", json.dumps([2**22 + 1, 0.0]))
    store.tag(reused_pid, "genvar.process", json.dumps([os.getpid(), 0.0]))
    store.tag(elsewhere, "genvar.process", json.dumps([2**22 + 1, 0.0]))
    store.tag(elsewhere, "genvar.host", socket.gethostname() + "-other")
    assert store.close_orphans() == 2
    client = mlflow_client(store.uri)
    states = [client.get_run(run).info.status for run in (alive, dead, reused_pid, elsewhere)]
    assert states == ["RUNNING", "KILLED", "KILLED", "RUNNING"]


def test_a_killed_run_goes_on_under_a_new_parent(store: RunStore, tmp_path: Path) -> None:
    run_id = store.start("joint", params={}, tags={}, parent="old")
    store.end(run_id, "KILLED")
    assert store.resume(run_id, parent="new")
    run = mlflow_client(store.uri).get_run(run_id)
    assert run.info.status == "RUNNING"
    assert run.data.tags["mlflow.parentRunId"] == "new"
    assert not store.resume("0" * 32, parent="new")
    assert not store.resume(_finish(store, tmp_path / "out", "f7"), parent="new")


def test_headline_numbers_and_system_metrics(store: RunStore) -> None:
    run_id = store.start("pipeline", params={}, tags={}, parent=None)
    store.log_results(run_id, {"mAP/joint": 50.0})
    with store.system_metrics(run_id):
        pass
    assert mlflow_client(store.uri).get_run(run_id).data.metrics["mAP/joint"] == 50.0


def test_a_deleted_experiment_is_said_and_restored_by_the_advice(store: RunStore) -> None:
    client = mlflow_client(store.uri)
    gone = RunStore(store.home, store.uri, "gone").experiment_id
    client.delete_experiment(gone)
    again = RunStore(store.home, store.uri, "gone")
    for look in (lambda: again.find_finished({"data": "f"}), lambda: again.experiment_id):
        with pytest.raises(UserError, match=rf"was deleted in MLflow; restore it with .* --experiment-id {gone}"):
            look()
    client.restore_experiment(gone)
    assert again.experiment_id == gone


def test_a_home_of_any_name_holds_all_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a b#c?d%20e%f ä:&=+;"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path / name / "home")
    store = RunStore(home, tracking_uri(home), "people")
    assert not store.exists()
    run_id = _finish(store, tmp_path / "out", "f1")
    assert store.find_finished({"data": "f1"})["data"].run_id == run_id
    [folder] = [store.artifacts_dir(run) for run in store.find_finished({"data": "f1"}).values()]
    assert folder.is_relative_to(home.artifacts)
    assert (folder / "stage.json").is_file()
    tracker = store.tracker(run_id, tmp_path / "journal")
    tracker.log_file(tmp_path / "out" / "summary.json", "pictures")
    assert (folder / "pictures" / "summary.json").is_file()
    check_store(store.uri)
    assert known_store(home) == store.uri
    assert {path.name for path in tmp_path.iterdir()} == {name, "out"}
    assert [path.name for path in (tmp_path / name).iterdir()] == ["home"]


def _open_store(root: Path) -> str:
    home = Home(root)
    return RunStore(home, f"sqlite:///{home.database}", "people").start("identity", params={}, tags={}, parent=None)


def test_processes_that_start_at_once_in_a_new_home_share_its_database(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        runs = set(pool.map(_open_store, [tmp_path] * 4))
    assert len(runs) == 4
    experiments = {mlflow_client(f"sqlite:///{tmp_path}/mlflow.db").get_run(run).info.experiment_id for run in runs}
    assert len(experiments) == 1
