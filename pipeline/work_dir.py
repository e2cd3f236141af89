"""The folder in which one stage is worked on, by one process at a time."""

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class WorkDir:
    """Holds a stage until its artifacts are stored.

    Attributes:
        folder: Named by stage and fingerprint, so that the same command finds what a killed one left.
    """

    folder: Path

    @property
    def out_dir(self) -> Path:
        """Folder that the stage fills and that is stored."""
        return self.folder / "out"

    @property
    def journal_dir(self) -> Path:
        """Folder of measurements that could not be sent."""
        return self.folder / "journal"

    @property
    def run_id(self) -> str | None:
        """Run that a killed process had opened for this stage."""
        path = self.folder / "run_id"
        return path.read_text() if path.is_file() else None

    def remember_run(self, run_id: str) -> None:
        """Note the run, so that a later process continues it."""
        write_whole(self.folder / "run_id", run_id)

    def open(self) -> None:
        """Create the folders."""
        for folder in (self.out_dir, self.folder / "scratch"):
            folder.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove everything, once the artifacts are stored."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def locked(folder: Path, wait_message: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a folder during the block; it goes with the process, however that ends.

    Args:
        folder: The lock lies beside it.
        wait_message: Told who holds the lock, when somebody does.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("a+") as file:
        is_told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not is_told:
                    file.seek(0)
                    wait_message(file.read().strip() or "another process")
                    is_told = True
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is whole or not there."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_marker(path: Path, facts: dict[str, Any]) -> None:
    """Write a completion marker."""
    write_whole(path, json.dumps(facts, indent=2, sort_keys=True) + "\n")
