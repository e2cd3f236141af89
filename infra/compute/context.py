"""The training context of one rank, the same wherever the rank runs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist

from infra.checkpoints import latest_checkpoint, save_checkpoint
from infra.compute.protocol import Workers
from infra.tracking.protocol import Tracker

_PROGRESS = "progress.json"


@dataclass
class RankContext:
    """Implements ``infra.compute.protocol.TrainContext``.

    Attributes:
        rank: From 0.
        world_size: Number of ranks.
        device: Of this rank.
        tracker: Logs on rank 0, silent on the others.
        workers: Pool that the loop may call.
        checkpoint_dir: Where checkpoints lie.
        show: Receives images done and the latest values; called on rank 0 only.
    """

    rank: int
    world_size: int
    device: torch.device
    tracker: Tracker
    workers: Workers | None
    checkpoint_dir: Path
    show: Callable[[int, Mapping[str, float]], None]
    _done: int = field(default=0, init=False)

    def latest(self) -> Path | None:
        """Return the newest whole checkpoint, and move the progress bar to where it was made."""
        path = latest_checkpoint(self.checkpoint_dir)
        if path is not None and (saved := path / _PROGRESS).is_file():
            self._done = int(json.loads(saved.read_text())["done"])
            self.advance(0)
        return path

    def save(self, name: str, write: Callable[[Path], None], *, keep: int = 2) -> None:
        """Make an atomic checkpoint on rank 0, while the other ranks wait for it."""

        def write_all(folder: Path) -> None:
            write(folder)
            (folder / _PROGRESS).write_text(json.dumps({"done": self._done}))

        if self.rank == 0:
            save_checkpoint(self.checkpoint_dir, name, write_all, keep=keep)
        if self.world_size > 1:
            dist.barrier()

    def advance(self, images: int, **shown: float) -> None:
        """Move the progress bar by this many images (of all ranks together), as rank 0 counts them."""
        self._done += images
        if self.rank == 0:
            self.show(self._done, shown)
