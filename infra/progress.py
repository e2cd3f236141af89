"""Progress for people: a bar on a terminal, a plain line every ten seconds elsewhere; also from another process."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FILES = 0.5


class ProgressBar(Protocol):
    """Shows how far a piece of work is."""

    def show(self, done: int, values: Mapping[str, float]) -> None:
        """Show ``done`` units in all and the latest values."""
        ...


def error_console() -> Console:
    """Return a console on standard error as it is now (tests and callers replace the stream)."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(description: str, total: int, unit: str) -> Iterator[ProgressBar]:
    """Show progress while the block runs.

    Args:
        description: Name of the work.
        total: Units of the whole work.
        unit: Name of the unit, in the plural.

    Yields:
        The bar; safe to call from any thread.
    """
    console = error_console()
    if not console.is_terminal:
        lines = _Lines(console, description, total, unit)
        yield lines
        lines.end()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", style="dim"),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        yield _Bar(progress, description, total, unit)


class _Rate:
    """Units a second since the first report, which may be that of a resumed run; 0 until there is a second one."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float:
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
            return 0.0
        start, already = self._first
        return (done - already) / max(now - start, 1e-9)


class _Bar:
    def __init__(self, progress: Progress, description: str, total: int, unit: str) -> None:
        self._progress, self._total, self._unit = progress, total, unit
        self._rate = _Rate()
        self._task = progress.add_task(description, total=max(total, 1), count=f"0/{total} {unit}", values="")

    def show(self, done: int, values: Mapping[str, float]) -> None:
        rate = self._rate(done)
        count = f"{done}/{self._total} {self._unit}" + (f", {rate:.3g}/s" if rate else "")
        self._progress.update(self._task, completed=done, count=count, values=_text(values))


class _Lines:
    def __init__(self, console: Console, description: str, total: int, unit: str) -> None:
        self._console, self._description, self._total, self._unit = console, description, total, unit
        self._rate = _Rate()
        self._lock = threading.Lock()
        self._started = self._last_line = time.monotonic()
        self._done, self._values = 0, dict[str, float]()

    def show(self, done: int, values: Mapping[str, float]) -> None:
        with self._lock:
            self._done, self._values = done, dict(values)
            rate = self._rate(done)
            if time.monotonic() - self._last_line < SECONDS_BETWEEN_LINES:
                return
            self._last_line = time.monotonic()
            self._line(f", {rate:.3g}/s, {(self._total - done) / rate:.0f} s left" if rate else "")

    def end(self) -> None:
        self._line(f", in {time.monotonic() - self._started:.1f} s")

    def _line(self, pace: str) -> None:
        text = f"  {self._description}: {self._done}/{self._total} {self._unit}{pace}"
        values = _text(self._values)
        self._console.print(f"{text}  {values}" if values else text, markup=False)


def _text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3g}" for name, value in values.items())


class ProgressFile:
    """Hands progress to another process through a file that is always whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last = 0.0
        self._latest: tuple[int, dict[str, float]] = (0, {})

    def show(self, done: int, values: Mapping[str, float]) -> None:
        """Remember the progress, and write it when the last write was a while ago."""
        self._latest = (done, dict(values))
        if time.monotonic() - self._last >= SECONDS_BETWEEN_FILES:
            self.flush()

    def flush(self) -> None:
        """Write the progress now."""
        self._last = time.monotonic()
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"done": self._latest[0], "values": self._latest[1]}))
        part.replace(self.path)


@contextmanager
def follow_file(path: Path, bar: ProgressBar) -> Iterator[None]:
    """Show on ``bar`` what a ``ProgressFile`` says while the block runs."""
    path.unlink(missing_ok=True)
    with watching(lambda: _show_file(path, bar), seconds=SECONDS_BETWEEN_FILES):
        yield


def _show_file(path: Path, bar: ProgressBar) -> None:
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        return
    bar.show(int(state["done"]), state["values"])


@contextmanager
def watching(look: Callable[[], None], *, seconds: float) -> Iterator[None]:
    """Call ``look`` from a thread while the block runs, and a last time when it has ended, however it ended.

    Args:
        look: Action; not called by two threads at once.
        seconds: Between two looks.
    """
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(seconds):
            look()

    thread = threading.Thread(target=poll, name="watching", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()
