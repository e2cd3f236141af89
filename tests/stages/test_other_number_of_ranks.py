"""A training that was stopped goes on with another number of ranks, and ends where an undisturbed one does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from stages import generator, identity, joint
from stages.training.clustering import read_pseudo_labels
from tests.stages.small_configs import GENERATOR, IDENTITY, JOINT

# Rounding grows from update to update (docs/lab/training.md): learning rates are low enough to tell it from a mistake.
CASES: dict[str, tuple[Any, Any]] = {
    "identity": (identity, IDENTITY.model_copy(update={"lr": 1e-5})),
    "generator": (generator, GENERATOR.model_copy(update={"optim": GENERATOR.optim.model_copy(update={"lr": 1e-5})})),
    "joint": (
        joint,
        JOINT.model_copy(update={"lr": 1e-6, "optim": JOINT.optim.model_copy(update={"lr": 1e-6})}),
    ),
}


def _train(
    stage: Any, config: Any, inputs: dict[str, Path], out_dir: Path, num_ranks: int, epochs: int
) -> list[dict[str, float]]:
    compute = LocalCompute(num_cpus=num_ranks, deterministic=True)
    how = config.model_copy(update={"num_ranks": num_ranks, "num_epochs": epochs})
    stage.run(how, inputs, out_dir, compute, SilentTracker())
    compute.close()
    return [json.loads(line) for line in (out_dir / "history.jsonl").read_text().splitlines()]


def _memory_and_labels(out_dir: Path, stage: str) -> tuple[torch.Tensor, np.ndarray]:
    [newest] = sorted((out_dir.parent / "scratch" / stage).glob("whole-*"))[-1:]
    state = torch.load(newest / "state.pt", weights_only=True)
    _, labels = read_pseudo_labels(sorted((out_dir / "pseudo_labels").iterdir())[-1])
    return state["training_state"]["memory"]["features"], labels


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)], ids=["one, then two", "two, then one"])
def test_it_goes_on_with_another_number(
    upstream: dict[str, Path], tmp_path: Path, name: str, before: int, after: int
) -> None:
    stage, config = CASES[name]
    quiet = _train(stage, config, upstream, tmp_path / "quiet" / "out", 1, 2)
    first = _train(stage, config, upstream, tmp_path / "out", before, 1)
    rows = _train(stage, config, upstream, tmp_path / "out", after, 2)
    assert len(first) == 1
    assert first[0]["epoch"] == rows[0]["epoch"]  # the first epoch was taken up, not trained again
    assert first[0]["images_per_second"] == rows[0]["images_per_second"]
    assert len(rows) == len(quiet) == 2
    losses = [
        key
        for key in quiet[1]
        if "/" not in key and key.endswith(("contrast", "reconstruction", "cycle", "adversarial"))
    ]
    assert losses
    for row, wanted in zip(rows, quiet, strict=True):
        for loss in losses:
            if loss in wanted:
                assert row[loss] == pytest.approx(wanted[loss], rel=2e-3), loss
    for path in (tmp_path / "quiet" / "out").glob("*.safetensors"):
        got, expected = load_file(tmp_path / "out" / path.name), load_file(path)
        for weight, value in expected.items():
            torch.testing.assert_close(got[weight], value, atol=2e-3, rtol=2e-2, msg=f"{path.name}: {weight}")
    if name == "joint":
        memory, labels = _memory_and_labels(tmp_path / "out", name)
        quiet_memory, quiet_labels = _memory_and_labels(tmp_path / "quiet" / "out", name)
        assert np.array_equal(labels, quiet_labels)
        torch.testing.assert_close(memory, quiet_memory, atol=2e-3, rtol=0)
