"""Compute whose training dies after a number of checkpoints, for tests of resuming."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from infra.checkpoints import latest_checkpoint
from infra.compute.local import LocalCompute
from infra.compute.protocol import TrainContext
from reid_core.data.transfer import prefetch
from stages.training.hardware import HardwareConfig

C = TypeVar("C")


class KilledError(Exception):
    """The training was ended in the middle."""


class _MortalContext:
    def __init__(self, context: TrainContext, checkpoints: int) -> None:
        self._context = context
        self._left = checkpoints

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def save(self, name: str, write: Callable[[Path], None], *, keep: int = 2) -> None:
        self._context.save(name, write, keep=keep)
        self._left -= 1
        if self._left == 0:
            raise KilledError


class MortalCompute(LocalCompute):
    """Local compute that ends a training after ``checkpoints`` checkpoints."""

    def __init__(self, checkpoints: int) -> None:
        super().__init__(num_cpus=1, deterministic=True)
        self._checkpoints = checkpoints

    def train(self, loop: Callable[[TrainContext, C], None], argument: C, **options: Any) -> None:
        """Run the loop until it has saved often enough, then raise ``KilledError``."""

        def mortal(context: TrainContext, given: C) -> None:
            loop(_MortalContext(context, self._checkpoints), given)

        super().train(mortal, argument, **options)


def stopped_within_an_epoch(checkpoint_dir: Path) -> bool:
    """Tell whether the newest checkpoint was made in the middle of an epoch."""
    newest = latest_checkpoint(checkpoint_dir)
    assert newest is not None, checkpoint_dir
    return int(newest.name.rpartition("-")[2]) > 0


def load_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make batches one ahead on the CPU too, as training does on a GPU: a checkpoint must not count the one ahead."""
    monkeypatch.setattr(HardwareConfig, "loading", lambda _, batches, device: prefetch(batches, device=device))
