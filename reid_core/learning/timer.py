"""Seconds that the spans of an iteration take, measured without making anybody wait."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


class Timer:
    """Adds up the seconds of named spans; a span inside another one counts in both.

    On a GPU each span is marked by two events, which the device passes when it gets there: the seconds are those of the
    device, waiting for the host included, and are known some time after the span has been left.

    Args:
        device: That the spans keep busy.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._is_gpu = torch.device(device).type == "cuda"
        self._seconds: dict[str, float] = {}
        self._on_the_way: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Count the block."""
        self._seconds.setdefault(name, 0.0)
        start = _event() if self._is_gpu else time.perf_counter()
        try:
            yield
        finally:
            if isinstance(start, float):
                self._seconds[name] += time.perf_counter() - start
            else:
                self._on_the_way.append((name, start, _event()))
                self._collect(wait=False)

    def each(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Yield items, and count the time that was spent waiting for each."""
        while True:
            with self.span(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every span so far, by name; waits for a GPU, so call it at the end of an epoch."""
        self._collect(wait=True)
        return dict(self._seconds)

    def _collect(self, *, wait: bool) -> None:
        """Count the spans that the device has passed."""
        while self._on_the_way:
            name, start, end = self._on_the_way[0]
            if wait:
                end.synchronize()
            elif not end.query():  # type: ignore[no-untyped-call]
                return
            self._seconds[name] += start.elapsed_time(end) / 1000
            self._on_the_way.popleft()


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
