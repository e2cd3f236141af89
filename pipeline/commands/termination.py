"""SIGTERM: a command closes what is open and ends with 143, within a bounded time whatever happens."""

import os
import signal
import sys
import threading
import time
from functools import cache
from types import FrameType
from typing import NoReturn

EXIT_TERMINATED = 143
SECONDS_TO_CLOSE = 15.0
_BYTES = 64


def end_on_sigterm() -> None:
    """Let SIGTERM raise ``SystemExit(143)`` in the main thread, and end the process if that has not done so in time.

    The exception comes up wherever the main thread happens to be: in a callback that swallows it, or between taking a
    lock and the block that gives it back, for which other threads then wait for ever (seen with logging, while Ray
    started). A hard end loses nothing: the guard of Ray's processes acts on it as on any other end, and the same
    command continues.
    """
    # The interpreter writes the number of every signal there, also while a library has put its own handler in place.
    signal.set_wakeup_fd(_watched_pipe(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _terminated)


def end_now() -> NoReturn:
    """End the process, once everything is closed: the end of the interpreter can wait on a library's threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_TERMINATED)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(EXIT_TERMINATED)


@cache
def _watched_pipe() -> int:
    """Start the thread that ends this process some time after SIGTERM; returns where it hears of signals."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # What a forked child is told is not meant for this process.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_end_later, args=(reader,), name="termination", daemon=True).start()
    return writer


def _end_later(reader: int) -> None:
    while signal.SIGTERM not in os.read(reader, _BYTES):
        pass
    time.sleep(SECONDS_TO_CLOSE)
    os._exit(EXIT_TERMINATED)
