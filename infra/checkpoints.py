"""Checkpoint directories that are whole or not there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

_WHOLE = "whole-"
_PART = "part-"


def save_checkpoint(folder: Path, name: str, write: Callable[[Path], None], *, keep: int = 2) -> Path:
    """Write a checkpoint atomically and drop the old ones.

    Args:
        folder: Folder of the checkpoints of one training.
        name: Sorts like the training's progress, for example ``"epoch-0003"``.
        write: Fills the directory it is given.
        keep: Number of the newest checkpoints that stay.

    Returns:
        The directory of the new checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part, whole = folder / f"{_PART}{name}", folder / f"{_WHOLE}{name}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    write(part)
    _sync_tree(part)
    # A directory cannot be replaced while it has files: an equal name only comes back after a restart from before it.
    shutil.rmtree(whole, ignore_errors=True)
    part.replace(whole)
    _sync(folder)
    sweep_checkpoints(folder, keep=keep)
    return whole


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, or None."""
    checkpoints = _whole(folder)
    return checkpoints[-1] if checkpoints else None


def sweep_checkpoints(folder: Path, *, keep: int) -> None:
    """Remove half-written checkpoints and all but the newest ``keep`` whole ones."""
    for stale in (*folder.glob(f"{_PART}*"), *_whole(folder)[:-keep]):
        shutil.rmtree(stale, ignore_errors=True)


def _whole(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_WHOLE}*"))


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
