"""One rank of a training, the same wherever it runs: its job, what its loop sees, what goes before and after the loop.

A rank in a process of its own speaks to the driver through files below the checkpoints.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from infra.checkpoints import latest_checkpoint, save_checkpoint
from infra.compute.machine import bound_threads
from infra.compute.protocol import TrainContext, Workers
from infra.messages import send_to_file
from infra.progress import ProgressFile
from infra.tracking.protocol import SilentTracker, Tracker
from reid_core.errors import UserError

_PROGRESS = "progress.json"  # beside the checkpoints for the driver, and inside each for a restart
_MESSAGES = "messages.txt"
_USER_ERROR = "user_error.txt"


@dataclass(frozen=True)
class TrainJob:
    """One training, picklable, as each rank receives it.

    Attributes:
        loop: Top-level function.
        argument: Handed to the loop.
        num_ranks: Number of ranks.
        checkpoint_dir: Folder of the checkpoints; every node sees it.
        tracker: Tracker of the stage.
        workers: Pool that the loop may call.
        threads: Threads of each rank.
        deterministic: Whether torch must use deterministic algorithms.
    """

    loop: Callable[[TrainContext, Any], None]
    argument: Any
    num_ranks: int
    checkpoint_dir: Path
    tracker: Tracker
    workers: Workers | None
    threads: int
    deterministic: bool

    @property
    def progress_path(self) -> Path:
        """File through which rank 0 shows its progress to the driver."""
        return self.checkpoint_dir / _PROGRESS

    @property
    def messages_path(self) -> Path:
        """File through which rank 0 says what it has to say."""
        return self.checkpoint_dir / _MESSAGES


@dataclass
class RankContext:
    """Implements ``infra.compute.protocol.TrainContext``.

    Attributes:
        rank: Number of this rank, from 0.
        world_size: Number of ranks.
        device: Device of this rank.
        tracker: Logs on rank 0, silent on the others.
        workers: Pool that the loop may call.
        checkpoint_dir: Folder of the checkpoints.
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

    def advance(self, images: int, **values: float) -> None:
        """Move the progress bar by this many images (of all ranks together), as rank 0 counts them."""
        self._done += images
        if self.rank == 0:
            self.show(self._done, values)


def run_rank(job: TrainJob, rank: int, device: torch.device) -> None:
    """Run the loop of one rank in a process of its own.

    A ``UserError`` is left in a file instead of raised where no other rank waits for this one, because raising would
    only start the rank again.
    """
    bound_threads(job.threads)
    if rank == 0:
        send_to_file(job.messages_path)
    progress = ProgressFile(job.progress_path)
    tracker = job.tracker if rank == 0 else SilentTracker()
    context = RankContext(rank, job.num_ranks, device, tracker, job.workers, job.checkpoint_dir, progress.show)
    try:
        run_loop(job, context)
    except UserError as error:
        (job.checkpoint_dir / _USER_ERROR).write_text(str(error))
        if job.num_ranks > 1:
            raise
    finally:
        if rank == 0:
            progress.flush()


def run_loop(job: TrainJob, context: RankContext) -> None:
    """Run a training loop in torch's mode of the job, and send what its tracker still holds."""
    try:
        with torch_mode(deterministic=job.deterministic):
            job.loop(context, job.argument)
    finally:
        context.tracker.flush()


def forget_user_error(checkpoint_dir: Path) -> None:
    """Remove what an earlier training left behind."""
    (checkpoint_dir / _USER_ERROR).unlink(missing_ok=True)


def raise_user_error(checkpoint_dir: Path) -> None:
    """Raise the error that a rank left for the user, if there is one."""
    path = checkpoint_dir / _USER_ERROR
    if path.is_file():
        raise UserError(path.read_text())


@contextmanager
def torch_mode(*, deterministic: bool) -> Iterator[None]:
    """Use torch's deterministic algorithms in the block, where asked to."""
    if not deterministic:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
