from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from infra.compute.rank import RankContext
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from reid_core.learning.memory import FeatureMemory
from stages.training.state import CheckpointConfig, Progress, Stateful, save_state


def _show(done: int, values: Mapping[str, float]) -> None:
    assert done >= 0, values


@pytest.fixture
def context(tmp_path: Path) -> RankContext:
    return RankContext(0, 1, torch.device("cpu"), SilentTracker(), None, tmp_path, _show)


def _parts(value: float) -> dict[str, Stateful]:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    optimiser = torch.optim.Adam(network.parameters(), lr=value)
    return {"network": network, "optimiser": optimiser, "memory": FeatureMemory(torch.tensor([[value, 1.0]]))}


def _content(parts: dict[str, Stateful]) -> tuple[float, float, float]:
    features = parts["memory"].state_dict()["features"]
    rate = parts["optimiser"].state_dict()["param_groups"][0]["lr"]
    return float(parts["network"].state_dict()["weight"]), rate, float(features[0, 0] / features[0, 1])


def test_a_training_goes_on_between_epochs_where_it_was(context: RankContext) -> None:
    first = Progress(context, CheckpointConfig(), _parts(0.25))
    assert first.fresh
    assert first.epochs(3) == range(3)
    first.epoch_done({"epoch": 0, "loss": 1.5}, torch.tensor([0, -1]))
    first.save()
    parts = _parts(0.5)
    second = Progress(context, CheckpointConfig(), parts)
    assert not second.fresh
    assert _content(parts) == pytest.approx((0.25, 0.25, 0.25))
    assert second.history == [{"epoch": 0, "loss": 1.5}]
    assert second.labels is not None
    assert second.labels.tolist() == [0, -1]
    assert (second.epochs(3), second.partial_epoch, second.first_iteration) == (range(1, 3), None, 0)


def test_an_interrupted_epoch_goes_on_where_it_was(context: RankContext) -> None:
    checkpoints = CheckpointConfig(every=2)
    first = Progress(context, checkpoints, _parts(0.25))
    for iteration in range(3):
        if first.due(iteration, 5):
            first.save_within(iteration, {"draws": torch.tensor([iteration])})
    second = Progress(context, checkpoints, _parts(0.5))
    assert second.partial_epoch is not None
    assert int(second.partial_epoch["draws"]) == 1
    assert (second.first_iteration, second.epochs(1)) == (2, range(1))
    second.epoch_done({"epoch": 0})
    assert second.epochs(1) == range(1, 1)
    assert second.first_iteration == 0
    assert vars(second)["partial_epoch"] is None


def test_the_end_of_an_epoch_has_a_checkpoint_of_its_own(context: RankContext) -> None:
    assert not Progress(context, CheckpointConfig(every=1), _parts(0.25)).due(0, 1)


def test_a_checkpoint_of_another_version_is_named(context: RankContext) -> None:
    save_state(context, 1, 0, {"parts": {}, "history": [], "labels": None, "middle": None}, keep=1)
    with pytest.raises(UserError, match="was written by another version of genvar"):
        Progress(context, CheckpointConfig(), _parts(0.5))
