"""Compute on this machine without Ray: for a debugger, and where Ray is not installed."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from infra.compute.lifetime import end_with_parent
from infra.compute.local_pool import LocalPool
from infra.compute.local_shards import map_in_processes
from infra.compute.machine import available_cpus, available_gpus, bound_threads
from infra.compute.protocol import TrainContext, Workers
from infra.compute.rank import (
    MAX_RESTARTS,
    RankContext,
    TrainJob,
    flush,
    forget_user_error,
    raise_user_error,
    run_rank,
    torch_mode,
)
from infra.messages import follow_messages
from infra.progress import ProgressBar, follow_file, progress_bar
from infra.tracking.protocol import Tracker
from reid_core.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")


class LocalCompute:
    """Implements ``infra.compute.protocol.Compute`` with processes of this machine.

    Args:
        num_cpus: CPUs to use; all that this process may use when None.
        num_gpus: GPUs to use; all when None.
        deterministic: Use torch's deterministic algorithms in every training.
    """

    def __init__(
        self, *, num_cpus: int | None = None, num_gpus: int | None = None, deterministic: bool = False
    ) -> None:
        self.num_cpus = num_cpus or available_cpus()
        self.num_gpus = available_gpus() if num_gpus is None else num_gpus
        self._deterministic = deterministic
        self._pools: list[LocalPool] = []

    def prepare(self, read: Sequence[Path], *, written: Path | None = None) -> None:
        """Refuse nothing: this machine is the only node."""

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
        """Apply a function to every shard in spawned processes; see the protocol."""
        sizes = [1] * len(shards) if sizes is None else sizes
        slots = max(1, min(len(shards), int(self.num_cpus / cpus), int(self.num_gpus / gpus) if gpus else len(shards)))
        with progress_bar(description, sum(sizes), unit) as bar:
            if slots == 1:
                return _map_here(function, shards, sizes, bar)
            done = 0

            def show(index: int) -> None:
                nonlocal done
                done += sizes[index]
                bar.show(done, {})

            threads = max(1, int(cpus))
            return map_in_processes(
                function, shards, slots=slots, threads=threads, restarts=MAX_RESTARTS, on_result=show
            )

    def start_workers(self, worker_class: type, num_workers: int, *, cpus: float = 1, memory_bytes: int = 0) -> Workers:
        """Start a pool of ``worker_class()`` instances; see the protocol."""
        pool = LocalPool(worker_class, num_workers, threads=max(1, int(cpus)))
        self._pools.append(pool)
        return pool.workers

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
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a training loop in this process, or on several spawned ranks; see the protocol."""
        if self.num_gpus and num_ranks > self.num_gpus:
            raise UserError(f"num_ranks={num_ranks}: each rank wants a GPU, but there are {self.num_gpus}; lower it")
        checkpoint_dir.mkdir(parents=True, exist_ok=True)
        deterministic = bool((settings or {}).get("deterministic", self._deterministic))
        threads = max(1, self.num_cpus // num_ranks)
        job = TrainJob(loop, argument, num_ranks, checkpoint_dir, tracker, workers, threads, deterministic)
        with progress_bar(description, num_images, "images") as bar:
            if num_ranks == 1:
                _train_here(job, self._device(0), bar)
            else:
                with follow_file(job.progress_path, bar), follow_messages(job.messages_path):
                    _train_in_processes(job, [str(self._device(rank)) for rank in range(num_ranks)])

    def close(self) -> None:
        """End every pool that is still there."""
        while self._pools:
            self._pools.pop().close()

    def _device(self, rank: int) -> torch.device:
        return torch.device("cuda", rank) if self.num_gpus else torch.device("cpu")


def _map_here(function: Callable[[T], R], shards: Sequence[T], sizes: Sequence[int], bar: ProgressBar) -> list[R]:
    results, done = [], 0
    for shard, size in zip(shards, sizes, strict=True):
        results.append(function(shard))
        done += size
        bar.show(done, {})
    return results


def _train_here(job: TrainJob, device: torch.device, bar: ProgressBar) -> None:
    bound_threads(job.threads)
    context = RankContext(0, 1, device, job.tracker, job.workers, job.checkpoint_dir, bar.show)
    try:
        with torch_mode(deterministic=job.deterministic):
            job.loop(context, job.argument)
    finally:
        flush(job.tracker)


def _train_in_processes(job: TrainJob, devices: list[str]) -> None:
    for attempt in range(MAX_RESTARTS + 1):
        forget_user_error(job.checkpoint_dir)
        with tempfile.TemporaryDirectory(prefix="genvar-ranks-") as folder:
            arguments = (job, devices, f"{folder}/rendezvous")
            try:
                spawn(_rank_process, args=arguments, nprocs=job.num_ranks, daemon=True)  # type: ignore[no-untyped-call]
                return
            except ProcessRaisedException:
                raise_user_error(job.checkpoint_dir)
                # A rank whose neighbour was killed raises too, and may do so before the death is noticed.
                if attempt == MAX_RESTARTS:
                    raise
            except ProcessExitedException:
                if attempt == MAX_RESTARTS:
                    raise


def _rank_process(rank: int, job: TrainJob, devices: list[str], rendezvous: str) -> None:
    end_with_parent()
    device = torch.device(devices[rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=job.num_ranks,
    )
    try:
        run_rank(job, rank, device)
    finally:
        dist.destroy_process_group()
