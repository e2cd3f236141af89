"""The loss curves of the smallest trainings as they once were: a refactoring that moves them has changed the method.

Seeds are fixed and the deterministic mode is on: on one machine the curves come out bit by bit. Another processor
rounds differently and training amplifies it: 1e-4 was seen between thread counts after five updates. The
tolerance of 2 % is far above that and far below what a changed loss, weight, draw or order of images does.
"""

import json
from pathlib import Path

import pytest

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from stages.joint import run
from tests.stages.small_configs import JOINT

IDENTITY_CURVE = {"cluster_contrast": (3.7708, 1.5952)}
GENERATOR_CURVE = {
    "image_reconstruction": (0.3326, 0.3193),
    "image_cycle": (0.3448, 0.3232),
    "feature_reconstruction": (0.7084, 0.6935),
    "feature_cycle": (0.7123, 0.6959),
}
ADVERSARIAL = {"adversarial": 2.5867, "discriminator": 2.6228}
JOINT_START = {
    "image_reconstruction": 0.3035,
    "image_cycle": 0.2984,
    "feature_reconstruction": 0.9874,
    "feature_cycle": 0.9957,
    "adversarial": 2.5794,
    "discriminator": 2.6153,
}

# Steep in everything: a temperature of 0.04, a nearly untrained encoder, batch norm over eight images. Rounding alone
# moved these by a tenth after three updates.
JOINT_CONTRAST = {"rotation_contrast": 9.7, "mixing_contrast": 1.84}


def _history(out_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out_dir / "history.jsonl").read_text().splitlines()]


def test_identity_warm_up(upstream: dict[str, Path]) -> None:
    rows = _history(upstream["identity"])
    for name, curve in IDENTITY_CURVE.items():
        assert [row[name] for row in rows] == pytest.approx(curve, rel=0.02), name


def test_generator_warm_up(upstream: dict[str, Path]) -> None:
    rows = _history(upstream["generator"])
    for name, curve in GENERATOR_CURVE.items():
        assert [row[name] for row in rows] == pytest.approx(curve, rel=0.02), name
    for name, value in ADVERSARIAL.items():
        assert rows[1][name] == pytest.approx(value, rel=0.02), name


def test_joint_training(upstream: dict[str, Path], tmp_path: Path) -> None:
    compute = LocalCompute(num_cpus=1, deterministic=True)
    run(JOINT.model_copy(update={"num_epochs": 1}), upstream, tmp_path / "out", compute, SilentTracker())
    compute.close()
    [row] = _history(tmp_path / "out")
    for name, value in JOINT_START.items():
        assert row[name] == pytest.approx(value, rel=0.02), name
    for name, value in JOINT_CONTRAST.items():
        assert row[name] == pytest.approx(value, rel=0.2), name
