import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from reid_core.models.weights import load_generator, load_identity
from stages import generator as generator_stage
from stages.joint import JointConfig, run
from stages.training.clustering import read_pseudo_labels
from stages.training.state import CheckpointConfig
from tests.stages.interruption import KilledError, MortalCompute, load_ahead, stopped_within_an_epoch
from tests.stages.small_configs import GENERATOR, JOINT

WEIGHTS = ("identity.safetensors", "generator.safetensors", "discriminator.safetensors")


@pytest.fixture(scope="module")
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1, deterministic=True)
    yield local
    local.close()


@pytest.fixture(scope="module")
def trained(upstream: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, compute: LocalCompute) -> Path:
    out_dir = tmp_path_factory.mktemp("joint") / "out"
    run(JOINT, upstream, out_dir, compute, SilentTracker())
    return out_dir


def test_trains_everything_and_writes_every_epochs_labels(upstream: dict[str, Path], trained: Path) -> None:
    before = load_identity(upstream["identity"] / "identity.safetensors")
    after = load_identity(trained / "identity.safetensors")
    assert not torch.equal(before.backbone.conv1.weight, after.backbone.conv1.weight)
    painter = load_generator(upstream["generator"] / "generator.safetensors")
    repainter = load_generator(trained / "generator.safetensors")
    assert not torch.equal(painter.decoder.up[1].weight, repainter.decoder.up[1].weight)  # type: ignore[arg-type]
    labels = sorted(path.name for path in (trained / "pseudo_labels").iterdir())
    assert labels == ["epoch-0000.parquet", "epoch-0001.parquet"]
    image_ids, first = read_pseudo_labels(trained / "pseudo_labels" / labels[0])
    assert len(image_ids) == len(first) == 24
    row = json.loads((trained / "history.jsonl").read_text().splitlines()[-1])
    assert {"rotation_contrast", "mixing_contrast", "image_cycle", "num_clusters"} <= set(row)
    assert (trained / "pictures" / "generator-grid.png").is_file()
    assert len((trained / "monitor.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(("every", "killed_after"), [(0, 1), (1, 1)], ids=["between epochs", "within one"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch,
    upstream: dict[str, Path],
    trained: Path,
    tmp_path: Path,
    compute: LocalCompute,
    every: int,
    killed_after: int,
) -> None:
    if every:
        load_ahead(monkeypatch)
    config = JOINT.model_copy(update={"checkpoints": CheckpointConfig(every=every)})
    mortal = MortalCompute(checkpoints=killed_after)
    with pytest.raises(KilledError):
        run(config, upstream, tmp_path / "out", mortal, SilentTracker())
    mortal.close()
    assert stopped_within_an_epoch(tmp_path / "scratch" / "joint") == (every > 0)
    run(config, upstream, tmp_path / "out", compute, SilentTracker())
    for name in WEIGHTS:
        assert (tmp_path / "out" / name).read_bytes() == (trained / name).read_bytes(), name


@pytest.mark.parametrize(
    "switches",
    [
        {"views": "classical", "mixing": "none"},
        {"views": "both", "mixing": "image", "generator_every": 0},
        {"rotation": False, "mixing": "fmixup", "batch_norm": "frozen", "use_cameras": True, "memory_refresh": False},
    ],
)
def test_switches_of_the_ablation(
    upstream: dict[str, Path], tmp_path: Path, compute: LocalCompute, switches: dict[str, Any]
) -> None:
    config = JointConfig.model_validate({**JOINT.model_dump(), "num_epochs": 1, **switches})
    run(config, upstream, tmp_path / "out", compute, SilentTracker())
    [row] = [json.loads(line) for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]
    assert np.isfinite(row["rotation_contrast"])
    assert ("mixing_contrast" in row) == (config.mixing != "none")
    # A generator that nothing trains is handed on unchanged.
    same = (tmp_path / "out" / WEIGHTS[1]).read_bytes() == (upstream["generator"] / WEIGHTS[1]).read_bytes()
    assert same == (config.generator_every == 0 or not config.generates)


def test_joint_training_paints_from_the_maps_that_the_warm_up_painted_from(
    upstream: dict[str, Path], tmp_path: Path, compute: LocalCompute
) -> None:
    early = GENERATOR.model_copy(update={"painted_from": "early", "num_epochs": 1})
    generator_stage.run(early, upstream, tmp_path / "generator", compute, SilentTracker())
    config = JOINT.model_copy(update={"num_epochs": 1})
    run(config, {**upstream, "generator": tmp_path / "generator"}, tmp_path / "out", compute, SilentTracker())
    before = load_generator(tmp_path / "generator" / "generator.safetensors")
    after = load_generator(tmp_path / "out" / "generator.safetensors")
    assert before.settings == after.settings
    assert after.settings["part_dim"] == 64 + 128  # channels at a quarter and an eighth of the size
    assert not torch.equal(before.decoder.part_mean, torch.zeros_like(before.decoder.part_mean))
    assert torch.equal(before.decoder.part_mean, after.decoder.part_mean)


def test_a_memory_of_other_images_is_refused(upstream: dict[str, Path], tmp_path: Path, compute: LocalCompute) -> None:
    np.save(tmp_path / "memory.npy", np.ones((3, 512), np.float32))
    with pytest.raises(UserError, match="3 rows for 24"):
        run(JOINT, {**upstream, "cluster": tmp_path}, tmp_path / "out", compute, SilentTracker())


def test_defaults_are_the_published_ones() -> None:
    config = JointConfig()
    assert (config.num_epochs, config.lr, config.lr_step_epochs, config.batch_size) == (20, 3.5e-4, 10, 16)
    contrast = config.contrast
    assert (contrast.temperature, contrast.num_negatives, contrast.memory_momentum) == (0.04, 8192, 0.2)
    assert (config.views, config.mixing, config.rotation, config.generator_every) == ("generated", "dmixup", True, 1)
