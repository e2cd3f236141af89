"""The whole pipeline against an MLflow server on PostgreSQL that is killed and started again in the middle."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.tracking.mlflow import mlflow_client
from pipeline.plan import STAGES
from tests.infra.tracking.servers import MlflowServer, postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

_ROOT = Path(__file__).parents[2]
_STAGES = {stage.name for stage in STAGES}
_SETTINGS = {
    "data": {"synthetic": {"num_train_people": 6, "num_test_people": 3, "images_per_person": 6}},
    "identity": {"num_epochs": 2, "iterations_per_epoch": 2, "monitor_every": 1},
    "generator": {"num_epochs": 1, "pictures_every": 1},
    "joint": {"num_epochs": 3, "pictures_every": 1, "monitor_every": 1},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    with postgres() as database:
        made = MlflowServer(database, folder / "artifacts")
        made.start()
        yield made
        made.kill()


def test_nothing_is_lost_when_the_server_is_killed_in_the_middle(server: MlflowServer, tmp_path: Path) -> None:
    config, home = tmp_path / "settings.json", tmp_path / "home"
    config.write_text(json.dumps(_SETTINGS))
    command = [sys.executable, "-m", "pipeline.cli", "pipeline", "--config", str(config), "--home", str(home)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
    kept |= {"MLFLOW_TRACKING_URI": server.uri}
    with (tmp_path / "log").open("w+") as log:
        first = subprocess.Popen(
            [*command, "--num-cpus", "1"], cwd=_ROOT, env=kept, stdout=log, stderr=subprocess.STDOUT
        )
        _wait_for(tmp_path / "log", "joint: running", first)
        while not list((home / "work").glob("joint-*/scratch/joint/whole-*")):
            assert first.poll() is None
            time.sleep(0.1)
        server.kill()
        time.sleep(8)
        server.start()
        code = first.wait(900)
        log.seek(0)
        assert code == 0, log.read()[-4000:]

    client = mlflow_client(server.uri)
    [experiment] = [found for found in client.search_experiments() if found.name == "synthetic"]
    runs = {run.data.tags.get("stage", "pipeline"): run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {*_STAGES, "pipeline"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for stage in _STAGES:
        assert "stage.json" in [file.path for file in client.list_artifacts(runs[stage].info.run_id)]
    # Every epoch of the stage during which the server was away is there, once.
    for name in ("image_reconstruction", "num_clusters"):
        history = client.get_metric_history(runs["joint"].info.run_id, name)
        assert sorted(metric.step for metric in history) == [0, 1, 2]
    assert runs["pipeline"].data.metrics["mAP/joint"] > 0
    assert not list(home.rglob("*.jsonl.part"))
    assert not [path for path in home.rglob("journal/*.jsonl") if path.stat().st_size]

    # Another home has no cache: the artifacts come from the server, and everything is reused.
    elsewhere = [*command[:-1], str(tmp_path / "elsewhere"), "--num-cpus", "1"]
    second = subprocess.run(elsewhere, cwd=_ROOT, env=kept, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    reused = [line.split(":")[0] for line in second.stderr.splitlines() if ": reused" in line]
    assert set(reused) == _STAGES


def _wait_for(path: Path, words: str, process: "subprocess.Popen[bytes]") -> None:
    while words not in path.read_text():
        assert process.poll() is None, path.read_text()[-4000:]
        time.sleep(0.2)
