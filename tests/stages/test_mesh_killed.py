"""kill -9 of a worker and of the driver of the mesh stage: nothing that was done is done again, nothing differs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.data.synthetic.settings import SyntheticSettings
from stages.data import DataConfig
from stages.data import run as run_data
from stages.mesh import MeshConfig, run

CONFIG = MeshConfig(source="estimate", topology="notoes_collapse3pc", images_per_shard=2)
SECONDS = 200
DRIVER = """
import sys
from pathlib import Path
from infra.compute.local import LocalCompute
from infra.compute.ray import RayCompute
from infra.tracking.protocol import SilentTracker
from stages.mesh import run
from tests.stages.test_mesh_killed import CONFIG
if __name__ == "__main__":
    executor, data, out = sys.argv[1:]
    compute = LocalCompute(num_cpus=2) if executor == "local" else RayCompute(num_cpus=2)
    run(CONFIG, {"data": Path(data)}, Path(out), compute, SilentTracker())
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rendered training people, 16 images."""
    out_dir = tmp_path_factory.mktemp("people")
    people = SyntheticSettings(num_train_people=4, num_test_people=1, images_per_person=4, num_cameras=2)
    compute = LocalCompute(num_cpus=1)
    run_data(DataConfig(image_height=64, image_width=32, synthetic=people), {}, out_dir, compute, SilentTracker())
    return out_dir


def extract(data: Path, out: Path) -> dict[str, bytes]:
    """Run the stage in this process; the parts of the cache."""
    out.mkdir(parents=True, exist_ok=True)
    compute = LocalCompute(num_cpus=1)
    run(CONFIG, {"data": data}, out, compute, SilentTracker())
    compute.close()
    return {path.name: path.read_bytes() for path in sorted((out / "mesh_cache").iterdir())}


def parts(out: Path) -> list[Path]:
    return sorted((out.parent / "scratch" / "mesh_cache").glob("part-*.parquet"))


def wait_for_parts(out: Path, count: int, driver: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + SECONDS
    while len(parts(out)) < count:
        assert driver.poll() is None, "the driver ended by itself"
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.01)


def workers_of(driver: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Processes that work on shards."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            words = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        if "spawn_main" in words or "ray::call_shard" in words:
            found.append(process)
    return found


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_killed_worker_and_a_killed_driver_change_nothing(executor: str, data: Path, tmp_path: Path) -> None:
    whole = extract(data, tmp_path / "whole" / "out")
    assert len(whole) == 8

    out = tmp_path / "killed" / "out"
    out.mkdir(parents=True)
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("RAY_ADDRESS", None)
    driver = subprocess.Popen(
        [sys.executable, str(script), executor, str(data), str(out)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_parts(out, 1, driver)
        workers = workers_of(driver)
        assert workers, "nobody works"
        workers[0].kill()
        wait_for_parts(out, 3, driver)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    end = time.monotonic() + SECONDS
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in workers):
        assert time.monotonic() < end, "workers outlive their driver"
        time.sleep(0.1)

    done = {path: path.stat().st_mtime_ns for path in parts(out)}
    assert 3 <= len(done) < 8, "killed in the middle"
    assert not (out / "mesh_cache").exists()
    assert extract(data, out) == whole
    assert {path: path.stat().st_mtime_ns for path in done} == done, "what was done is not done again"
    assert not list((out.parent / "scratch" / "mesh_cache").glob("*.note"))
