"""Checkpoints of the training stages: what one holds, when it is made, and how a training finds its way back."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import TrainContext
from reid_core.errors import UserError
from stages.stage import StageConfig

_STATE = "state.pt"


class CheckpointConfig(StageConfig):
    """When a training can be continued from; results do not depend on it."""

    every: int = Field(
        200, ge=0, le=10**6, description="Iterations between two within an epoch; 0 = none there (ours)."
    )
    keep: int = Field(2, ge=1, le=1000, description="How many of the newest stay (ours).")

    def due(self, iteration: int, num_iterations: int) -> bool:
        """Tell whether one is due after iteration ``iteration`` (from 0) of an epoch; its end has one of its own."""
        done = iteration + 1
        return self.every > 0 and done % self.every == 0 and done < num_iterations


def save_state(context: TrainContext, epoch: int, iteration: int, state: Mapping[str, Any], *, keep: int) -> None:
    """Make a checkpoint; called by every rank.

    Args:
        context: Of the training loop.
        epoch: Epoch that comes next, or that goes on.
        iteration: Its iteration that comes next.
        state: Tensors, numbers, lists and dictionaries.
        keep: How many checkpoints stay.

    Raises:
        UserError: A weight or statistic is not a number, which no later epoch would mend; the last checkpoint stays.
    """
    broken = [name for name, tensor in _tensors("", state) if not bool(tensor.isfinite().all())]
    if broken:
        raise UserError(
            f"training diverged in epoch {epoch}: {broken[0]} is not a number; lower the learning rate "
            "(the last good checkpoint is kept: the same command tries again from there)"
        )
    content = {"epoch": epoch, "iteration": iteration, **state}
    name = f"epoch-{epoch:05d}-iteration-{iteration:07d}"
    context.save(name, lambda folder: torch.save(content, folder / _STATE), keep=keep)


def load_state(context: TrainContext) -> dict[str, Any] | None:
    """Return the newest checkpoint's state with its ``epoch`` and ``iteration``, or None at a fresh start."""
    folder = context.latest()
    if folder is None:
        return None
    state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
    assert isinstance(state, dict)
    return state


def _tensors(prefix: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield prefix.removeprefix("."), value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _tensors(f"{prefix}.{name}", item)
