"""Where joint training runs makes no difference: processes of this machine, or Ray."""

from pathlib import Path

import pytest

from infra.compute.local import LocalCompute
from infra.compute.ray import RayCompute
from infra.tracking.protocol import SilentTracker
from stages.joint import run
from tests.stages.small_configs import JOINT

WEIGHTS = ("identity.safetensors", "generator.safetensors", "discriminator.safetensors")


@pytest.mark.slow
def test_local_and_ray_give_the_same_bytes(
    upstream: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = JOINT.model_copy(update={"num_epochs": 1, "iterations_per_epoch": 3, "num_ranks": 2})
    computes: dict[str, LocalCompute | RayCompute] = {
        "local": LocalCompute(num_cpus=2, deterministic=True),
        "ray": RayCompute(num_cpus=2, deterministic=True),
    }
    for name, compute in computes.items():
        run(config, upstream, tmp_path / name / "out", compute, SilentTracker())
        compute.close()
    for file in WEIGHTS:
        assert (tmp_path / "local" / "out" / file).read_bytes() == (tmp_path / "ray" / "out" / file).read_bytes(), file
