"""A safe place for what Anny computes on its first use.

Anny parses its assets for most of a minute and keeps the result in a folder of files that it writes in place. Two
workers that start together, or a process killed meanwhile, would leave a broken file that every later run trips over.
Here one process builds while the others wait, and what a killed one left behind is thrown away.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from reid_core.errors import UserError

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


def default_folder(version: str) -> Path:
    """Folder of this user's cache for one version of Anny."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "genvar" / f"anny-{version}"


def build_once(folder: Path, name: str, build: Callable[[], T]) -> T:
    """Call ``build``, alone if it is the first successful call under this name on this machine.

    Args:
        folder: What ``build`` reads and fills.
        name: Of the thing to build.
        build: Quick when ``folder`` holds its files, else slow and writing.

    Returns:
        What ``build`` returns.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} should keep what the body model computes on its first use, but cannot be made ({error}); "
            "set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    ready, building = folder / f"{name}.ready", folder / "building"
    with _locked(folder, fcntl.LOCK_SH):
        if ready.exists():
            return build()
    with _locked(folder, fcntl.LOCK_EX):
        if building.exists():  # its process was killed: any file may be half written
            _empty(folder)
        if ready.exists():
            return build()
        _LOG.info("building the body model %s for the first time on this machine: up to a minute", name)
        building.touch()
        result = build()
        ready.touch()
        building.unlink()
        return result


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """Hold the folder's lock; the system releases it when a process dies."""
    with folder.with_suffix(folder.suffix + ".lock").open("a") as file:
        fcntl.flock(file, kind)
        yield


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
