import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from reid_core.models.weights import load_discriminator, load_generator
from stages.generator import GeneratorConfig, run
from stages.training.data import GeneratorOptimConfig
from stages.training.state import CheckpointConfig
from tests.stages.interruption import KilledError, MortalCompute, load_ahead, stopped_within_an_epoch
from tests.stages.small_configs import GENERATOR


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1, deterministic=True)
    yield local
    local.close()


def test_writes_networks_pictures_and_history(upstream: dict[str, Path]) -> None:
    out_dir = upstream["generator"]
    assert load_generator(out_dir / "generator.safetensors").num_parts == 4
    load_discriminator(out_dir / "discriminator.safetensors")
    rows = [json.loads(line) for line in (out_dir / "history.jsonl").read_text().splitlines()]
    assert rows[1]["image_reconstruction"] < rows[0]["image_reconstruction"]
    assert "image_cycle" in rows[0]
    assert "adversarial" not in rows[0]
    assert {"adversarial", "discriminator", "r1"} <= set(rows[1])
    for name in ("generator-grid.png", "mixing-grid.png"):
        with Image.open(out_dir / "pictures" / name) as picture:
            assert picture.width > 300


def test_an_encoder_that_lost_the_colours_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    upstream: dict[str, Path],
    tmp_path: Path,
    compute: LocalCompute,
) -> None:
    monkeypatch.setattr("stages.generator._FEWEST_READ", 10)  # there are 24 images
    monkeypatch.setattr("stages.generator.colour_probe", lambda parts, images: 0.37)
    config = GENERATOR.model_copy(update={"num_epochs": 1, "adversarial_from_epoch": 1})
    run(config, upstream, tmp_path / "last" / "out", compute, SilentTracker())
    assert "holds 37 % of people's colours" in caplog.text
    assert "generator.painted_from=early" in caplog.text
    assert json.loads((tmp_path / "last" / "out" / "summary.json").read_text())["colour_probe"] == 0.37
    caplog.clear()
    run(
        config.model_copy(update={"painted_from": "early"}),
        upstream,
        tmp_path / "early" / "out",
        compute,
        SilentTracker(),
    )
    assert "colours" not in caplog.text


@pytest.mark.parametrize(("every", "killed_after"), [(0, 1), (1, 4)], ids=["between epochs", "within one"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch,
    upstream: dict[str, Path],
    tmp_path: Path,
    compute: LocalCompute,
    every: int,
    killed_after: int,
) -> None:
    if every:
        load_ahead(monkeypatch)
    config = GENERATOR.model_copy(update={"checkpoints": CheckpointConfig(every=every)})
    mortal = MortalCompute(checkpoints=killed_after)
    with pytest.raises(KilledError):
        run(config, upstream, tmp_path / "out", mortal, SilentTracker())
    mortal.close()
    assert stopped_within_an_epoch(tmp_path / "scratch" / "generator") == (every > 0)
    run(config, upstream, tmp_path / "out", compute, SilentTracker())
    for name in ("generator.safetensors", "discriminator.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (upstream["generator"] / name).read_bytes()


def test_an_angle_that_no_mesh_has_is_refused(upstream: dict[str, Path], tmp_path: Path, compute: LocalCompute) -> None:
    with pytest.raises(UserError, match="30"):
        run(GENERATOR.model_copy(update={"angles": (30, 45)}), upstream, tmp_path / "out", compute, SilentTracker())


def test_defaults_are_the_published_ones() -> None:
    config = GeneratorConfig()
    assert config.angles == (45, 90, 135, 180, 225, 270, 315)
    assert (config.num_epochs, config.batch_size, config.num_parts, config.mixing_alpha) == (40, 16, 4, 0.6)
    assert (config.optim.lr, config.optim.beta1, config.optim.weight_decay) == (1e-4, 0.0, 5e-4)
    assert config.weights.by_term()["image_cycle"] == 5


def test_the_learning_rate_is_constant_as_published_or_falls_over_the_second_half() -> None:
    config = GeneratorConfig(optim=GeneratorOptimConfig(lr=1e-3))
    assert config.learning_rate(0.0) == config.learning_rate(1.0) == 1e-3
    falling = config.model_copy(update={"lr_schedule": "linear"})
    rates = [falling.learning_rate(done) for done in (0.0, 0.5, 0.75, 1.0)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2e-5])
