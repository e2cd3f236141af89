"""Where a training stands: epochs that are done, the place in the one that goes on, and checkpoints of both."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from infra.compute.protocol import TrainContext
from reid_core.learning.distributed import synchronise_buffers
from stages.resuming import CheckpointConfig, load_state, save_state


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
        parts: What training changes, by name; filled in place where there is a checkpoint.
        averaged: Networks whose running statistics differ between the ranks; a checkpoint holds their mean.

    Attributes:
        history: One row for each epoch that is done.
        labels: Pseudo labels of the newest of them, shape (N,); None where there are none.
        middle: What an interrupted epoch goes on from; None at the start of one.
        first_iteration: Of the epoch that comes next, or goes on.
    """

    def __init__(
        self,
        context: TrainContext,
        checkpoints: CheckpointConfig,
        parts: Mapping[str, Stateful],
        *,
        averaged: Sequence[nn.Module] = (),
    ) -> None:
        self._context, self._checkpoints = context, checkpoints
        self._parts, self._averaged = dict(parts), tuple(averaged)
        self.history: list[dict[str, float]] = []
        self.labels: Tensor | None = None
        self.middle: Mapping[str, Any] | None = None
        self.first_iteration = 0
        state = load_state(context)
        self.fresh = state is None
        if state is not None:
            for name, part in self._parts.items():
                part.load_state_dict(state["parts"][name])
            self.history, self.labels = state["history"], state["labels"]
            self.middle, self.first_iteration = state["middle"], state["iteration"]

    def epochs(self, num_epochs: int) -> range:
        """Return the epochs that are left, the interrupted one first."""
        return range(len(self.history), num_epochs)

    def iteration_done(self, iteration: int, num_iterations: int, middle: Mapping[str, Any]) -> None:
        """Make a checkpoint within an epoch, where one is due; called by every rank.

        Args:
            iteration: That has ended, from 0.
            num_iterations: Of the epoch.
            middle: What the rest of the epoch needs, besides the parts.
        """
        if self._checkpoints.due(iteration, num_iterations):
            self._save(len(self.history), iteration + 1, middle)

    def epoch_done(self, row: dict[str, float], labels: Tensor | None = None) -> None:
        """Count an epoch and its pseudo labels; the checkpoint comes with ``save``, after all that is to be seen."""
        self.history.append(row)
        self.labels, self.middle, self.first_iteration = labels, None, 0

    def save(self) -> None:
        """Make the checkpoint between two epochs; called by every rank."""
        self._save(len(self.history), 0, None)

    def _save(self, epoch: int, iteration: int, middle: Mapping[str, Any] | None) -> None:
        for network in self._averaged:
            synchronise_buffers(network)
        state = {
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "history": self.history,
            "labels": self.labels,
            "middle": None if middle is None else dict(middle),
        }
        save_state(self._context, epoch, iteration, state, keep=self._checkpoints.keep)
