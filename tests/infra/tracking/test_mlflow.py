import pickle
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.home import Home
from infra.tracking import mlflow as tracking
from infra.tracking.address import tracking_uri
from infra.tracking.mlflow import Measurement, MlflowTracker, mlflow_client
from infra.tracking.store import RunStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    home = Home(tmp_path_factory.mktemp("home"))
    return RunStore(home, f"sqlite:///{home.database}", "people")


def _history(store: RunStore, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in mlflow_client(store.uri).get_metric_history(run_id, key)]


def test_metrics_are_held_back_and_sent_in_batches(store: RunStore, tmp_path: Path) -> None:
    run_id = store.start("identity", params={}, tags={}, parent=None)
    tracker = store.tracker(run_id, tmp_path)
    for epoch in range(3):
        tracker.log_metrics({"loss": 1.0 / (epoch + 1), "num_clusters": epoch}, step=epoch)
    assert _history(store, run_id, "loss") == []
    tracker.flush()
    assert _history(store, run_id, "loss") == [(0, 1.0), (1, 0.5), (2, 1.0 / 3)]
    tracker.flush()
    assert len(_history(store, run_id, "num_clusters")) == 3


def test_a_tracker_crosses_processes_without_its_buffer(store: RunStore, tmp_path: Path) -> None:
    run_id = store.start("identity", params={}, tags={}, parent=None)
    tracker = store.tracker(run_id, tmp_path)
    tracker.log_metrics({"loss": 1.0}, step=0)
    copy: MlflowTracker = pickle.loads(pickle.dumps(tracker))
    copy.log_metrics({"loss": 2.0}, step=1)
    copy.flush()
    assert _history(store, run_id, "loss") == [(1, 2.0)]
    tracker.flush()
    assert sorted(_history(store, run_id, "loss")) == [(0, 1.0), (1, 2.0)]


def test_an_outage_neither_raises_nor_stalls_and_is_replayed(
    store: RunStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = store.start("joint", params={}, tags={}, parent=None)
    away = MlflowTracker("http://127.0.0.1:9", run_id, tmp_path)
    start = time.monotonic()
    for epoch in range(20):
        away.log_metrics({"loss": float(epoch)}, step=epoch)
        away.flush()
    away.log_file(Path(__file__), "pictures")
    assert time.monotonic() - start < 30
    assert len([message for message in caplog.messages if "they are kept and sent later" in message]) == 1
    assert store.tracker(run_id, tmp_path).replay() == 20
    assert _history(store, run_id, "loss") == [(epoch, float(epoch)) for epoch in range(20)]


def test_a_training_does_not_wait_for_a_store_that_hangs(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_SECONDS_BETWEEN_BATCHES", 0.0)
    run_id = store.start("joint", params={}, tags={}, parent=None)
    tracker = store.tracker(run_id, tmp_path)
    go_on = threading.Event()
    send = tracker._send

    def hang(measurements: Sequence[Measurement]) -> None:
        assert go_on.wait(60)
        send(measurements)

    monkeypatch.setattr(tracker, "_send", hang)
    for step in range(50):
        tracker.log_metrics({"loss": float(step)}, step=step)
    assert _history(store, run_id, "loss") == []  # every call came back while the store took nothing
    go_on.set()
    tracker.flush()
    assert _history(store, run_id, "loss") == [(step, float(step)) for step in range(50)]


def test_a_file_is_an_artifact_while_the_stage_runs(store: RunStore, tmp_path: Path) -> None:
    run_id = store.start("generator", params={}, tags={}, parent=None)
    (tmp_path / "grid.png").write_bytes(b"picture")
    store.tracker(run_id, tmp_path).log_file(tmp_path / "grid.png", "pictures")
    assert [f.path for f in mlflow_client(store.uri).list_artifacts(run_id, "pictures")] == ["pictures/grid.png"]


def test_the_local_database_is_independent_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(Home(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_uri(Home(tmp_path)) == "http://server:5000"


def test_telemetry_is_off(store: RunStore) -> None:
    assert tracking._ENVIRONMENT["MLFLOW_DISABLE_TELEMETRY"] == "true"
