"""Protocols through which a stage sees the machine or cluster it runs on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from infra.tracking.protocol import Tracker

T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")


class Workers(Protocol):
    """A pool of stateful workers in processes of their own (FAISS and torch crash in one process).

    Picklable: a training worker may call the pool that its driver started.
    """

    @property
    def num_workers(self) -> int:
        """Processes of the pool."""
        ...

    def map(
        self,
        method: str,
        tasks: Sequence[tuple[Any, ...]],
        *,
        shared: np.ndarray | None = None,
        on_result: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Call ``worker.method(shared, *task)`` for every task, spread over the pool.

        Args:
            method: Name of a method of the worker class.
            tasks: Positional arguments of each call.
            shared: Array that every call reads; it crosses once, not once a task. Left out of the call when None.
            on_result: Called with the number of results that are there, from any thread.

        Returns:
            Results in the order of ``tasks``.
        """
        ...

    def stop(self) -> None:
        """End the pool's processes."""
        ...


class TrainContext(Protocol):
    """The place that a training loop runs in, as the loop sees it."""

    rank: int
    world_size: int
    device: torch.device
    tracker: Tracker  # logs on rank 0, silent on the others
    workers: Workers | None

    def latest(self) -> Path | None:
        """Directory of the newest whole checkpoint, or None at a fresh start."""
        ...

    def save(self, name: str, write: Callable[[Path], None], *, keep: int = 2) -> None:
        """Make an atomic checkpoint; called by every rank, written by rank 0.

        Args:
            name: Sorts like the training's progress, for example ``"epoch-0003"``.
            write: Fills the directory it is given.
            keep: Number of the newest checkpoints that stay.
        """
        ...

    def advance(self, images: int, **values: float) -> None:
        """Move the progress bar and show the latest values.

        Args:
            images: Images done since the last call by all ranks together; the bar shows what rank 0 says.
            values: Loss names to numbers.
        """
        ...


class Compute(Protocol):
    """Runs functions over shards, training loops over ranks, and pools of workers."""

    @property
    def num_cpus(self) -> int:
        """CPUs to use."""
        ...

    @property
    def num_gpus(self) -> int:
        """GPUs to use."""
        ...

    def prepare(self, read: Sequence[Path], *, written: Path | None = None) -> None:
        """Refuse a cluster of which a node cannot do the work; every command calls this before any work.

        Args:
            read: Data roots and files that are read where the work is done.
            written: Home of the runs, where workers write into it.

        Raises:
            UserError: It names the node.
        """
        ...

    def map_shards(
        self,
        function: Callable[[T], R],
        shards: Sequence[T],
        *,
        description: str,
        sizes: Sequence[int] | None = None,
        unit: str = "images",
        cpus: float = 1,
        gpus: float = 0,
    ) -> list[R]:
        """Apply a top-level function to every shard in parallel, with retries for dead workers and a progress bar.

        Args:
            function: Importable by name (it is sent to other processes); retry-safe.
            shards: One argument each.
            description: Shown beside the progress bar.
            sizes: Units that each shard counts; 1 each when None.
            unit: Name of the unit, in the plural.
            cpus: CPUs of one call; its threads are bounded by them.
            gpus: GPUs of one call.

        Returns:
            Results in the order of ``shards``.
        """
        ...

    def start_workers(self, worker_class: type, num_workers: int, *, cpus: float = 1, memory_bytes: int = 0) -> Workers:
        """Start a pool of ``worker_class()`` instances.

        Args:
            worker_class: Called without arguments in every process.
            num_workers: Processes, spread over the nodes.
            cpus: Threads of each.
            memory_bytes: Need of each at its peak; a cluster puts it where there is as much. 0 = unknown.

        Returns:
            The pool; a worker whose process or node is lost is replaced.
        """
        ...

    def train(
        self,
        loop: Callable[[TrainContext, C], None],
        argument: C,
        *,
        num_ranks: int,
        checkpoint_dir: Path,
        tracker: Tracker,
        description: str,
        num_images: int,
        workers: Workers | None = None,
    ) -> None:
        """Run a training loop on ``num_ranks`` ranks, restarted from its latest checkpoint when a rank dies.

        Args:
            loop: Top-level function; results are files it writes from rank 0.
            argument: Handed to the loop; picklable.
            num_ranks: Number of ranks; each has one GPU where there are GPUs.
            checkpoint_dir: Folder of the checkpoints; every node sees it.
            tracker: Tracker of the stage.
            description: Shown beside the progress bar.
            num_images: Length of the progress bar: images over all epochs.
            workers: Pool that the loop may call between epochs.
        """
        ...
