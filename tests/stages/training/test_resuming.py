from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from infra.compute.rank import RankContext
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from stages.training.state import CheckpointConfig, load_state, save_state


def _show(done: int, values: Mapping[str, float]) -> None:
    assert done >= 0, values


@pytest.fixture
def context(tmp_path: Path) -> RankContext:
    return RankContext(0, 1, torch.device("cpu"), SilentTracker(), None, tmp_path, _show)


def test_the_newest_place_in_the_training_comes_back(context: RankContext) -> None:
    assert load_state(context) is None
    for epoch, iteration in ((0, 200), (9, 400), (10, 0), (10, 200)):
        save_state(context, epoch, iteration, {"weights": torch.tensor([float(epoch)])}, keep=2)
    state = load_state(context)
    assert state is not None
    assert (state["epoch"], state["iteration"], float(state["weights"])) == (10, 200, 10.0)


def test_the_last_few_are_kept(context: RankContext, tmp_path: Path) -> None:
    for epoch in range(5):
        save_state(context, epoch, 0, {}, keep=3)
    assert len(list(tmp_path.glob("whole-*"))) == 3


def test_broken_weights_are_refused_and_the_good_checkpoint_stays(context: RankContext) -> None:
    save_state(context, 1, 0, {"encoder": {"conv": torch.ones(2)}}, keep=1)
    broken = {"encoder": {"conv": torch.tensor([1.0, float("inf")])}, "count": torch.tensor(3)}
    with pytest.raises(UserError, match=r"epoch 2: encoder\.conv is not a number"):
        save_state(context, 2, 0, broken, keep=1)
    state = load_state(context)
    assert state is not None
    assert state["epoch"] == 1


def test_a_checkpoint_is_due_every_so_often_and_not_at_the_end() -> None:
    config = CheckpointConfig(every=10)
    assert [iteration for iteration in range(30) if config.due(iteration, 30)] == [9, 19]
    assert not any(CheckpointConfig(every=0).due(iteration, 30) for iteration in range(30))
