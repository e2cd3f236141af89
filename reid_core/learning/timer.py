"""Where the time of an iteration goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


class Timer:
    """Adds up the seconds of named parts of the work; parts may lie inside each other and then count twice.

    Attributes:
        seconds: Name of a part to the seconds it took so far.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block; on a GPU its kernels are waited for, or the wrong part would be charged for them."""
        start = _now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + _now() - start

    def each(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Yield items, and count the time that was spent waiting for each."""
        while True:
            with self.part(name):
                item = next(items, None)
            if item is None:
                return
            yield item


def _now() -> float:
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.perf_counter()
