"""Functions and a worker that other processes can import, quickly."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from reid_core.errors import UserError


def square(number: int) -> tuple[int, str]:
    """Return the square, and the threads that numerical libraries get."""
    return number * number, os.environ["OMP_NUM_THREADS"]


def refuse(number: int) -> int:
    raise UserError(f"{number} is not wanted; give another one")


def sleep_or_refuse(number: int) -> None:
    refuse(number) if number < 10 else time.sleep(number)


def die_once(marker: Path) -> str:
    """Kill the own process at the first call."""
    if not marker.exists():
        marker.touch()
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return marker.name


class Counter:
    """A worker with a state."""

    def __init__(self) -> None:
        self.calls = 0

    def total(self, shared: np.ndarray, factor: float) -> float:
        self.calls += 1
        assert not shared.flags.writeable
        return float(shared.sum()) * factor

    def process(self) -> int:
        return os.getpid()

    def slow_total(self, shared: np.ndarray, factor: float, seconds: float) -> float:
        time.sleep(seconds)
        return self.total(shared, factor)

    def threads(self) -> str:
        return os.environ["OMP_NUM_THREADS"]

    def has_torch(self) -> bool:
        return "torch" in sys.modules

    def fail(self) -> None:
        raise UserError("the worker refuses; ask for something else")
