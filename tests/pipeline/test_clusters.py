"""The whole pipeline on several Ray nodes of this machine: the numbers of one, whatever happens to the nodes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq
import pytest

from tests.infra.compute.simulated import ROOT, simulated_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

_SETTINGS = {
    "data": {"synthetic": {"num_train_people": 6, "num_test_people": 3, "images_per_person": 6}},
    "mesh": {"images_per_shard": 2},
    "identity": {"num_epochs": 1, "iterations_per_epoch": 2, "monitor_every": 1},
    "generator": {"num_epochs": 1, "pictures_every": 1},
    "joint": {"num_epochs": 3, "pictures_every": 3, "monitor_every": 3},
}


class Run:
    """A pipeline in a process of its own."""

    def __init__(self, home: Path, environment: Mapping[str, str], *options: str) -> None:
        settings = home.with_name("settings.json")
        settings.write_text(json.dumps(_SETTINGS))
        command = [sys.executable, "-m", "pipeline.cli", "pipeline", "--config", str(settings), "--home", str(home)]
        self.log: IO[str] = home.with_name(f"{home.name}.log").open("w+")
        self.process = subprocess.Popen(
            [*command, "--deterministic", *options], cwd=ROOT, env=environment, stdout=self.log, stderr=self.log
        )

    def end(self) -> None:
        """Wait for its end, which must be a good one."""
        code = self.process.wait(600)
        self.log.seek(0)
        assert code == 0, self.log.read()[-5000:]


def newest(home: Path, name: str) -> Path:
    """Return the file of this name that was written last."""
    return max((home / "artifacts").rglob(name), key=lambda path: path.stat().st_mtime)


def results(home: Path) -> tuple[object, object]:
    """Return everything that was measured: scores, and the losses of joint training."""
    losses = [json.loads(line) for line in (newest(home, "generator.safetensors").parent / "history.jsonl").open()]
    measured = [{name: value for name, value in row.items() if not _is_speed(name)} for row in losses]
    return json.loads(newest(home, "metrics.json").read_text()), measured


def _is_speed(name: str) -> bool:
    return name.startswith("seconds/") or name in ("images_per_second", "memory_gb")


def meshes(home: Path) -> list[str]:
    """Return the content of the mesh cache as text, in which not-a-number equals itself."""
    folder = newest(home, "part-00000.parquet").parent
    return [repr(pq.read_table(path).to_pydict()) for path in sorted(folder.glob("part-*.parquet"))]


def alone() -> dict[str, str]:
    """Return the environment of a command that starts a node of its own."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home of a pipeline on one node with one CPU, as every other node here has one."""
    home = tmp_path_factory.mktemp("one") / "home"
    Run(home, alone(), "--num-cpus", "1").end()
    return home


@pytest.mark.parametrize("cpus", [(1, 1), (1, 1, 1, 1)], ids=["two nodes", "four nodes"])
def test_several_nodes_end_with_the_numbers_of_one(one: Path, tmp_path: Path, cpus: tuple[int, ...]) -> None:
    with simulated_cluster(cpus) as cluster:
        Run(tmp_path / "home", cluster.environment).end()
    assert results(tmp_path / "home") == results(one)
    assert meshes(tmp_path / "home") == meshes(one)


def test_a_node_added_and_a_node_lost_during_mesh_extraction(tmp_path: Path) -> None:
    # Finely drawn bodies, so that there is work left when the new node is ready for it.
    finer = ("mesh.topology=notoes_collapse10pc", "data.synthetic.num_train_people=12", "--until", "mesh")
    Run(tmp_path / "home", alone(), *finer, "--num-cpus", "1").end()
    before = meshes(tmp_path / "home")
    with simulated_cluster([0, 1]) as cluster:
        run = Run(tmp_path / "home", cluster.environment, *finer, "--force", "mesh")
        first = cluster.wait_for_work("call_shard", [1])
        added = cluster.add(1)
        assert cluster.wait_for_work("call_shard", [added]) == added
        cluster.remove(first)
        run.end()
    assert meshes(tmp_path / "home") == before


def test_a_node_lost_during_joint_training(one: Path) -> None:
    before = results(one)
    with simulated_cluster([0, 1, 1]) as cluster:
        run = Run(one, cluster.environment, "--force", "joint")
        work = one / "work"
        while not list(work.glob("joint-*/scratch/joint/whole-*")):
            assert run.process.poll() is None
            time.sleep(0.1)
        # The pool and the rank are there; the node of the rank goes.
        cluster.remove(cluster.wait_for_work("TrainWorker", [1, 2]))
        run.end()
    assert results(one) == before
