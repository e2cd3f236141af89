"""Cleans up after a driver, however it ended. Run as a script, in a process of its own, with a folder as argument.

A Ray cluster mostly ends with the process that started it, but not where that was killed while the cluster started:
agents and workers then live on. All of them write their logs below the cluster's folder, which tells them apart.
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
        folder: Below it, and nowhere else, the processes to end write their output.

    Returns:
        The guard; it acts when its standard input is closed, by this process or by the end of this process.
    """
    # In a session of its own, so that Ctrl-C does not reach it.
    command = [sys.executable, "-I", str(Path(__file__).resolve()), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def writers_below(folder: Path) -> list[int]:
    """Return the processes whose output goes below a folder."""
    prefix = f"{folder}/"
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _writes_below(entry, prefix)]


def clean_up(folder: Path) -> None:
    """End every process that writes below a folder, and remove the folder."""
    for _ in range(_ROUNDS):
        found = writers_below(folder)
        if not found:
            break
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_SECONDS_BETWEEN_ROUNDS)
    shutil.rmtree(folder, ignore_errors=True)


def _writes_below(entry: Path, prefix: str) -> bool:
    for number in ("1", "2"):
        try:
            if str((entry / "fd" / number).readlink()).startswith(prefix):
                return True
        except OSError:
            continue  # gone, closed, or somebody else's
    return False


if __name__ == "__main__":
    sys.stdin.buffer.read()
    clean_up(Path(sys.argv[1]))
