"""Nothing outlives the driver: processes that end with their parent, and the guard that cleans up after a Ray cluster.

A Ray cluster mostly ends with the process that started it, but not where that was killed while the cluster started:
agents and workers then live on, some of them for minutes, some for ever. All of them write logs below the cluster's
folder, which tells them apart. Run as a script with that folder as argument, in a process of its own, this file is
the guard; it needs the standard library alone.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path

_ROUNDS = 50
_SECONDS_BETWEEN_ROUNDS = 0.1


def end_with_parent(on_end: Callable[[], None] | None = None) -> None:
    """Watch the parent of this spawned process, and end at once when it is gone.

    Without this, workers of a driver that was killed would compute on, unseen.

    Args:
        on_end: Called first, for example to remove a folder that the parent would have removed.
    """
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process started by multiprocessing has a parent to watch"

    def watch() -> None:
        wait([parent.sentinel])
        try:
            if on_end is not None:
                on_end()
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def start_guard(folder: Path) -> "subprocess.Popen[bytes]":
    """Start a guard of ``folder``.

    Args:
        folder: The processes to end are those that hold a file open below it.

    Returns:
        The guard; it acts when its standard input is closed, by this process or by the end of this process.
    """
    # In a session of its own, so that Ctrl-C does not reach it.
    command = [sys.executable, "-I", str(Path(__file__).resolve()), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def users_of(folder: Path) -> list[int]:
    """Return the processes that hold a file open below a folder."""
    prefix = f"{folder}/"
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _uses(entry, prefix)]


def clean_up(folder: Path, spare: int) -> None:
    """End every process that uses a folder, and remove the folder.

    Args:
        folder: The folder.
        spare: Process that is left alone, because it is the driver.
    """
    for _ in range(_ROUNDS):
        found = [process for process in users_of(folder) if process != spare]
        if not found:
            break
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_SECONDS_BETWEEN_ROUNDS)
    shutil.rmtree(folder, ignore_errors=True)


def _uses(entry: Path, prefix: str) -> bool:
    try:
        numbers = list((entry / "fd").iterdir())
    except OSError:
        return False  # gone, or somebody else's
    for number in numbers:
        with contextlib.suppress(OSError):  # closed in the meantime
            if str(number.readlink()).startswith(prefix):
                return True
    return False


if __name__ == "__main__":
    driver = os.getppid()
    sys.stdin.buffer.read()
    clean_up(Path(sys.argv[1]), driver)
