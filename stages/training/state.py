"""Checkpoints of the training stages: when one is made, what it holds, and how a training goes on from it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from infra.compute.protocol import TrainContext
from reid_core.distributed import synchronise_buffers
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


class Stateful(Protocol):
    """A network, an optimiser, a memory: what training changes."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors, numbers, lists and dictionaries."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Take up what ``state_dict`` returned."""
        ...


class Progress:
    """The whole state of a training: taken up from the newest checkpoint, saved to the next ones.

    Args:
        context: Of the training loop.
        checkpoints: When one is made.
        training_state: What training changes, by name; filled in place where there is a checkpoint.
        averaged: Networks whose running statistics differ between the ranks; a checkpoint holds their mean.

    Attributes:
        history: One row for each epoch that is done.
        labels: Pseudo labels of the newest of them, shape (N,); None where there are none.
        partial_epoch: What an interrupted epoch goes on from; None at the start of one.
        first_iteration: Of the epoch that comes next, or goes on.
    """

    def __init__(
        self,
        context: TrainContext,
        checkpoints: CheckpointConfig,
        training_state: Mapping[str, Stateful],
        *,
        averaged: Sequence[nn.Module] = (),
    ) -> None:
        self._context, self._checkpoints = context, checkpoints
        self._training_state, self._averaged = dict(training_state), tuple(averaged)
        self.history: list[dict[str, float]] = []
        self.labels: Tensor | None = None
        self.partial_epoch: Mapping[str, Any] | None = None
        self.first_iteration = 0
        state = load_state(context)
        self.fresh = state is None
        if state is not None:
            if "training_state" not in state:
                raise UserError(
                    f"the checkpoint in {context.latest()} was written by another version of genvar and cannot be "
                    "continued; delete that folder, and the same command trains this stage from its start"
                )
            for name, trained in self._training_state.items():
                trained.load_state_dict(state["training_state"][name])
            self.history, self.labels = state["history"], state["labels"]
            self.partial_epoch, self.first_iteration = state["partial_epoch"], state["iteration"]

    def epochs(self, num_epochs: int) -> range:
        """Return the epochs that are left, the interrupted one first."""
        return range(len(self.history), num_epochs)

    def due(self, iteration: int, num_iterations: int) -> bool:
        """Tell whether a checkpoint is due after this iteration (from 0) of an epoch."""
        return self._checkpoints.due(iteration, num_iterations)

    def save_within(self, iteration: int, partial_epoch: Mapping[str, Any]) -> None:
        """Make a checkpoint within an epoch; called by every rank.

        Args:
            iteration: That has ended, from 0.
            partial_epoch: What the rest of the epoch needs, besides the training state.
        """
        self._save(len(self.history), iteration + 1, partial_epoch)

    def epoch_done(self, row: dict[str, float], labels: Tensor | None = None) -> None:
        """Count an epoch and its pseudo labels; the checkpoint comes with ``save``, after all that is to be seen."""
        self.history.append(row)
        self.labels, self.partial_epoch, self.first_iteration = labels, None, 0

    def save(self) -> None:
        """Make the checkpoint between two epochs; called by every rank."""
        self._save(len(self.history), 0, None)

    def _save(self, epoch: int, iteration: int, partial_epoch: Mapping[str, Any] | None) -> None:
        for network in self._averaged:
            synchronise_buffers(network)
        state = {
            "training_state": {name: trained.state_dict() for name, trained in self._training_state.items()},
            "history": self.history,
            "labels": self.labels,
            "partial_epoch": None if partial_epoch is None else dict(partial_epoch),
        }
        save_state(self._context, epoch, iteration, state, keep=self._checkpoints.keep)
