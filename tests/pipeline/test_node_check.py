"""Every command that computes on a cluster looks at its nodes first: one that misses the storage is named."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.compute.simulated import ROOT, SimulatedCluster, simulated_cluster
from tests.pipeline.encoders import write_encoder
from tests.stages.pictures import write_crops

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_HOME = "does not see the home {home}; put it on storage that every node mounts at the same path"
_CROPS = "does not see {shared}/crops; put it on storage that every node mounts at the same path"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the last node of the cluster does not have."""
    folder = tmp_path_factory.mktemp("shared")
    write_crops(folder / "crops", 4)
    write_encoder(folder / "identity.safetensors")
    # So small that a command which computes in spite of the node is soon done.
    settings = {"data": {"synthetic": {"num_train_people": 2, "num_test_people": 2, "images_per_person": 4}}}
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def cluster(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedCluster]:
    path = tmp_path_factory.mktemp("log") / "node"
    with simulated_cluster([1]) as made, path.open("w") as log:
        node = made.add_blind(shared, log)
        end = time.monotonic() + 120
        while "Ray runtime started" not in path.read_text():
            assert node.poll() is None, path.read_text()[-3000:]
            assert time.monotonic() < end, path.read_text()[-3000:]
            time.sleep(0.2)
        yield made
        node.terminate()
        node.wait(30)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("pipeline --config {shared}/settings.json --home {home}", _HOME),
        ("reproduce --config {shared}/settings.json --home {home}", _HOME),
        ("tune contrast --trials 2 --set joint.num_epochs=4 --config {shared}/settings.json --home {home}", _HOME),
        ("embed {shared}/crops --run {shared}/identity.safetensors --executor ray --out {home}.parquet", _CROPS),
        (
            "search {shared}/crops {shared}/crops --run {shared}/identity.safetensors --executor ray --out {home}",
            _CROPS,
        ),
    ],
    ids=["pipeline", "reproduce", "tune", "embed", "search"],
)
def test_a_node_without_the_storage_is_named_before_any_work(
    cluster: SimulatedCluster, shared: Path, arguments: str, sentence: str
) -> None:
    home = shared / arguments.split()[0]
    words = [word.format(shared=shared, home=home) for word in arguments.split()]
    command = [sys.executable, "-m", "pipeline.cli", *words]
    done = subprocess.run(command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("genvar: the node ")
    assert sentence.format(shared=shared, home=home) in last
    # Nothing was begun: no stage, no search, no features.
    left = [path.name for path in home.iterdir()] if home.is_dir() else []
    assert not {"work", "artifacts", "searches"} & set(left), left
    assert not home.with_suffix(".parquet").exists()
