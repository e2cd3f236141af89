"""Cleans up after a driver, however it ended. Run as a script, in a process of its own, with a folder as argument.

A Ray cluster mostly ends with the process that started it, but not where that was killed while the cluster started:
agents and workers then live on, some of them for minutes, some for ever. All of them write logs below the cluster's
folder, which tells them apart.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_ROUNDS = 50
_SECONDS_BETWEEN_ROUNDS = 0.1


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
