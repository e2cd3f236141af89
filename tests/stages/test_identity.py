import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from reid_core.models.weights import load_identity
from stages.identity import IdentityConfig, run
from stages.training.state import CheckpointConfig
from tests.stages.interruption import KilledError, MortalCompute, load_ahead, stopped_within_an_epoch
from tests.stages.small_configs import IDENTITY
from tests.stages.trackers import RecordingTracker


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1, deterministic=True)
    yield local
    local.close()


def test_writes_weights_history_and_summary(upstream: dict[str, Path]) -> None:
    out_dir = upstream["identity"]
    untrained, warm = (load_identity(out_dir / f"{name}.safetensors") for name in ("untrained", "identity"))
    assert not torch.equal(untrained.backbone.conv1.weight, warm.backbone.conv1.weight)
    rows = [json.loads(line) for line in (out_dir / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert {"cluster_contrast", "num_clusters", "num_outliers", "images_per_second"} <= set(rows[0])
    assert json.loads((out_dir / "summary.json").read_text())["num_images"] == 24


@pytest.mark.parametrize(("every", "killed_after"), [(0, 1), (1, 3)], ids=["between epochs", "within one"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch, upstream: dict[str, Path], tmp_path: Path, every: int, killed_after: int
) -> None:
    if every:
        load_ahead(monkeypatch)
    config = IDENTITY.model_copy(update={"checkpoints": CheckpointConfig(every=every)})
    out_dir = tmp_path / "out"
    mortal = MortalCompute(checkpoints=killed_after)
    with pytest.raises(KilledError):
        run(config, upstream, out_dir, mortal, SilentTracker())
    mortal.close()
    assert stopped_within_an_epoch(tmp_path / "scratch" / "identity") == (every > 0)
    assert not (out_dir / "identity.safetensors").exists()
    compute = LocalCompute(num_cpus=1, deterministic=True)
    tracker = RecordingTracker()
    run(config, upstream, out_dir, compute, tracker)
    compute.close()
    for name in ("untrained.safetensors", "identity.safetensors"):
        assert (out_dir / name).read_bytes() == (upstream["identity"] / name).read_bytes()
    assert len((out_dir / "history.jsonl").read_text().splitlines()) == 2


def test_loaded_weights_can_stand_as_they_are(upstream: dict[str, Path], tmp_path: Path, compute: LocalCompute) -> None:
    source = upstream["identity"] / "identity.safetensors"
    config = IDENTITY.model_copy(update={"weights": str(source), "num_epochs": 0})
    run(config, upstream, tmp_path / "out", compute, SilentTracker())
    loaded = load_identity(tmp_path / "out" / "identity.safetensors")
    for one, two in zip(loaded.state_dict().values(), load_identity(source).state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_a_batch_that_does_not_split_over_ranks_is_refused(
    upstream: dict[str, Path], tmp_path: Path, compute: LocalCompute
) -> None:
    with pytest.raises(UserError, match="num_ranks=3"):
        run(IDENTITY.model_copy(update={"num_ranks": 3}), upstream, tmp_path / "out", compute, SilentTracker())


def test_defaults_are_cluster_contrast() -> None:
    config = IdentityConfig()
    assert config.clusters_per_batch * config.images_per_cluster == 256
    assert (config.lr, config.temperature, config.momentum) == (3.5e-4, 0.05, 0.1)
