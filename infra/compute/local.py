"""Compute on this machine without Ray: for a debugger, and where Ray is not installed."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from infra.compute.lifetime import end_with_parent
from infra.compute.machine import available_cpus, available_gpus, bound_threads
from infra.compute.processes import MAX_RESTARTS, ProcessPool, call_worker, prepare_worker
from infra.compute.protocol import TrainContext, Workers
from infra.compute.rank import RankContext, TrainJob, forget_user_error, raise_user_error, run_loop, run_rank
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
        self._started: list[LocalWorkers] = []

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
        """Apply a function to every shard in spawned processes, or here where one suffices; see the protocol."""
        sizes = [1] * len(shards) if sizes is None else sizes
        slots = max(1, min(len(shards), int(self.num_cpus / cpus), int(self.num_gpus / gpus) if gpus else len(shards)))
        done = 0
        with progress_bar(description, sum(sizes), unit) as bar:

            def show(index: int) -> None:
                nonlocal done
                done += sizes[index]
                bar.show(done, {})

            if slots > 1:
                with closing(ProcessPool(slots, threads=max(1, int(cpus)))) as pool:
                    return pool.map(function, [(shard,) for shard in shards], show)
            results = []
            for index, shard in enumerate(shards):
                results.append(function(shard))
                show(index)
            return results

    def start_workers(self, worker_class: type, num_workers: int, *, cpus: float = 1, memory_bytes: int = 0) -> Workers:
        """Return a pool of ``worker_class()`` instances, which starts when it is first called; see the protocol."""
        workers = LocalWorkers(worker_class, num_workers, threads=max(1, int(cpus)))
        self._started.append(workers)
        return workers

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
        """Run a training loop in this process, or on several spawned ranks; see the protocol."""
        if self.num_gpus and num_ranks > self.num_gpus:
            raise UserError(f"num_ranks={num_ranks}: each rank wants a GPU, but there are {self.num_gpus}; lower it")
        checkpoint_dir.mkdir(parents=True, exist_ok=True)
        threads = max(1, self.num_cpus // num_ranks)
        job = TrainJob(loop, argument, num_ranks, checkpoint_dir, tracker, workers, threads, self._deterministic)
        devices = [torch.device("cuda", rank) if self.num_gpus else torch.device("cpu") for rank in range(num_ranks)]
        with progress_bar(description, num_images, "images") as bar:
            if num_ranks == 1:
                _train_here(job, devices[0], bar)
            else:
                with follow_file(job.progress_path, bar), follow_messages(job.messages_path):
                    _train_in_processes(job, devices)

    def close(self) -> None:
        """End every pool that is still there."""
        while self._started:
            self._started.pop().stop()


@dataclass(frozen=True)
class LocalWorkers:
    """Implements ``infra.compute.protocol.Workers``.

    The processes are started by the first call. A training rank that receives the pool starts processes of its own.

    Attributes:
        worker_class: Called without arguments in every process.
        num_workers: Processes.
        threads: Threads of each process.
    """

    worker_class: type
    num_workers: int
    threads: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the processes behind."""
        return LocalWorkers, (self.worker_class, self.num_workers, self.threads)

    @cached_property
    def pool(self) -> ProcessPool:
        """Processes, started when they are first asked for."""
        prepare = partial(prepare_worker, self.worker_class, self.threads)
        return ProcessPool(self.num_workers, threads=self.threads, prepare=prepare)

    def map(
        self,
        method: str,
        tasks: Sequence[tuple[Any, ...]],
        *,
        shared: np.ndarray | None = None,
        on_result: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Call ``worker.method(shared, *task)`` for every task; see the protocol."""
        numbers = count(1)

        def tell(_: int) -> None:
            if on_result is not None:
                on_result(next(numbers))

        with tempfile.NamedTemporaryFile(dir=self.pool.folder, suffix=".npy") as file:
            if shared is not None:
                np.save(file.name, shared)
            path = None if shared is None else Path(file.name)
            return self.pool.map(call_worker, [(method, path, task) for task in tasks], tell)

    def stop(self) -> None:
        """End the pool's processes."""
        if (pool := self.__dict__.pop("pool", None)) is not None:
            pool.close()


def _train_here(job: TrainJob, device: torch.device, bar: ProgressBar) -> None:
    bound_threads(job.threads)
    context = RankContext(0, 1, device, job.tracker, job.workers, job.checkpoint_dir, bar.show)
    run_loop(job, context)


def _train_in_processes(job: TrainJob, devices: Sequence[torch.device]) -> None:
    """Start every rank, and all of them again from the latest checkpoint when one dies."""
    for attempt in range(MAX_RESTARTS + 1):
        forget_user_error(job.checkpoint_dir)
        with tempfile.TemporaryDirectory(prefix="genvar-ranks-") as folder:
            arguments = (job, devices, f"{folder}/rendezvous")
            ranks = spawn(_rank_process, args=arguments, nprocs=job.num_ranks, join=False)  # type: ignore[no-untyped-call]
            try:
                while not ranks.join():
                    pass
                return
            except ProcessRaisedException:
                raise_user_error(job.checkpoint_dir)
                # A rank whose neighbour was killed raises too, and may do so before the death is noticed.
                if attempt == MAX_RESTARTS:
                    raise
            except ProcessExitedException as error:
                if attempt == MAX_RESTARTS:
                    raise UserError(
                        f"ranks of the training died {MAX_RESTARTS + 1} times, the last by "
                        f"{error.signal_name or f'exit code {error.exit_code}'}, mostly for want of memory; use fewer "
                        "(num_ranks of the stage), a smaller batch, or a machine with more memory"
                    ) from error
            finally:
                for process in ranks.processes:
                    process.terminate()  # after Ctrl-C, which does not reach them


def _rank_process(rank: int, job: TrainJob, devices: Sequence[torch.device], rendezvous: str) -> None:
    end_with_parent()
    device = devices[rank]
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.FileStore(rendezvous, job.num_ranks),  # type: ignore[attr-defined] # exported, not declared
        rank=rank,
        world_size=job.num_ranks,
    )
    try:
        run_rank(job, rank, device)
    finally:
        dist.destroy_process_group()
