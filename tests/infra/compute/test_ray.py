import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.compute.lifetime import clean_up
from infra.compute.ray import RayCompute
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from tests.infra.compute import loops

_ROOT = Path(__file__).parents[3]
_JOIN = """
from infra.compute.ray import RayCompute
from tests.infra.compute import toys
if __name__ == "__main__":
    compute = RayCompute()
    compute.prepare([])
    print(compute.map_shards(toys.square, [2, 3], description="squares"), flush=True)
    compute.close()
"""


def test_more_ranks_than_cpus_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = RayCompute()
    vars(compute)["_resources"] = (2, 0)  # CPUs, GPUs
    monkeypatch.setattr("infra.compute.ray.disconnect", lambda: None)
    monkeypatch.setattr("infra.compute.ray_demand.node_resources", lambda: [{"CPU": 2.0}])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(
        UserError, match=r"^walking asks for 3 CPUs, the cluster has 2; lower num_ranks=3 of the stage$"
    ):
        compute.train(
            loops.walk,
            loops.Walk(tmp_path / "result"),
            num_ranks=3,
            checkpoint_dir=tmp_path,
            tracker=SilentTracker(),
            description="walking",
            num_images=1,
        )
    compute.close()


def test_no_work_on_a_cluster_before_its_nodes_were_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(AssertionError, match=r"prepare\(\) comes before any work"):
        RayCompute().map_shards(abs, [-1], description="nothing")


@pytest.mark.slow
def test_a_cluster_that_runs_already_is_joined_and_left_running(tmp_path: Path) -> None:
    script = tmp_path / "join.py"
    script.write_text(_JOIN)
    folder = Path("/tmp") / f"genvar-test-{os.getpid()}"  # the paths of sockets must be short
    home = tmp_path / "home"
    home.mkdir()
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0123456789abcdef" * 4)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"HOME": str(home), "PYTHONPATH": str(_ROOT)}
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port", "26399", "--num-cpus", "2"]
    quiet = ["--include-dashboard=false", "--disable-usage-stats", "--temp-dir", str(folder)]
    subprocess.run([*start, *quiet], env=environment, check=True, capture_output=True)
    try:
        environment["RAY_ADDRESS"] = "127.0.0.1:26399"
        for _ in range(2):
            command = [sys.executable, str(script)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
            assert done.stdout == "[(4, '1'), (9, '1')]\n", done.stderr
    finally:
        clean_up(folder, os.getpid())
