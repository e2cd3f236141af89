"""Compute on Ray: a cluster of its own on this machine, or the one that RAY_ADDRESS names."""

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from infra.compute.machine import bound_threads
from infra.compute.protocol import TrainContext, Workers
from infra.compute.rank import MAX_RESTARTS, TrainJob, forget_user_error, raise_user_error, run_rank
from infra.compute.ray_cluster import connect, disconnect, probe_address
from infra.messages import follow_messages
from infra.progress import follow_file, progress_bar
from infra.tracking.protocol import Tracker
from reid_core.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")


class RayCompute:
    """Implements ``infra.compute.protocol.Compute`` with Ray tasks, Ray actors and Ray Train.

    Nothing is started before the first piece of work.

    Args:
        num_cpus: CPUs of a cluster started here; all that this process may use when None.
        num_gpus: GPUs of a cluster started here; all when None.
        deterministic: Use torch's deterministic algorithms in every training.
    """

    def __init__(
        self, *, num_cpus: int | None = None, num_gpus: int | None = None, deterministic: bool = False
    ) -> None:
        self._wanted = (num_cpus, num_gpus)
        self._deterministic = deterministic

    def check(self) -> None:
        """Refuse an address that does not answer; starts nothing."""
        probe_address()

    @cached_property
    def _resources(self) -> "tuple[int, int, int]":
        return connect(*self._wanted)

    @property
    def num_cpus(self) -> int:
        """CPUs of the cluster."""
        return self._resources[0]

    @property
    def num_gpus(self) -> int:
        """GPUs of the cluster."""
        return self._resources[1]

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
        """Apply a function to every shard as Ray tasks; see the protocol."""
        import ray

        sizes = [1] * len(shards) if sizes is None else sizes
        cpus = min(cpus, self.num_cpus)
        task: Any = ray.remote(_call)
        call = task.options(num_cpus=cpus, num_gpus=gpus, max_retries=MAX_RESTARTS)
        # Enough to keep every CPU busy; more would only fill the scheduler with a large data set's shards.
        in_flight = max(2, 2 * int(self.num_cpus / cpus))
        todo = list(reversed(range(len(shards))))
        running: dict[Any, int] = {}
        results: dict[int, R] = {}
        with progress_bar(description, sum(sizes), unit) as bar:
            while todo or running:
                while todo and len(running) < in_flight:
                    index = todo.pop()
                    running[call.remote(function, shards[index], max(1, int(cpus)))] = index
                finished, _ = ray.wait(list(running), num_returns=1)
                for reference in finished:
                    results[running.pop(reference)] = _get(reference)
                bar.show(sum(sizes[index] for index in results), {})
        return [results[index] for index in range(len(shards))]

    def start_workers(self, worker_class: type, num_workers: int, *, cpus: float = 1) -> Workers:
        """Start a pool of ``worker_class()`` instances as Ray actors; see the protocol."""
        import ray

        threads = max(1, int(cpus))
        # On one node nothing is reserved: training and clustering take turns on the same CPUs, and a reservation could
        # leave none for the other. Over several nodes the reservation spreads the pool.
        reserved = cpus if self._resources[2] > 1 else 0
        # An environment of its own keeps Ray from reusing a process that has loaded torch.
        environment = {"env_vars": {"GENVAR_POOL": "1", "OMP_NUM_THREADS": str(threads)}}
        names = [f"genvar-{worker_class.__name__}-{uuid.uuid4().hex}" for _ in range(num_workers)]
        actor: Any = ray.remote(_PoolActor)
        handles = [
            actor.options(
                name=name, num_cpus=reserved, max_restarts=MAX_RESTARTS, max_task_retries=MAX_RESTARTS,
                runtime_env=environment,
            ).remote(worker_class, threads)
            for name in names
        ]  # fmt: skip
        for handle in handles:
            _get(handle.ready.remote())
        workers = RayWorkers(tuple(names))
        self._handles.extend(handles)  # a named actor ends when its last handle is gone
        return workers

    def train(
        self,
        loop: Callable[[TrainContext, C], None],
        argument: C,
        *,
        num_workers: int,
        checkpoint_dir: Path,
        tracker: Tracker,
        description: str,
        num_images: int,
        workers: Workers | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a training loop on Ray Train ranks; see the protocol."""
        have, what = (self.num_gpus, "GPU") if self.num_gpus else (self.num_cpus, "CPU")
        if num_workers > have:
            raise UserError(f"num_workers={num_workers} ranks want a {what} each, but there are {have}; lower it")
        checkpoint_dir.mkdir(parents=True, exist_ok=True)
        forget_user_error(checkpoint_dir)
        deterministic = bool((settings or {}).get("deterministic", self._deterministic))
        threads = max(1, self.num_cpus // num_workers)
        job = TrainJob(loop, argument, num_workers, checkpoint_dir, tracker, workers, threads, deterministic)
        with (
            progress_bar(description, num_images, "images") as bar,
            follow_file(job.progress_path, bar),
            follow_messages(job.messages_path),
        ):
            _fit(job, use_gpu=self.num_gpus > 0)
        raise_user_error(checkpoint_dir)

    def close(self) -> None:
        """End the cluster that was started here, or leave the one that was joined."""
        self._handles.clear()
        if "_resources" in self.__dict__:
            disconnect()
            del self.__dict__["_resources"]

    @cached_property
    def _handles(self) -> list[Any]:
        return []


@dataclass(frozen=True)
class RayWorkers:
    """Implements ``infra.compute.protocol.Workers``; knows its actors by name, so that it is picklable.

    Attributes:
        names: Of the actors.
    """

    names: tuple[str, ...]

    @property
    def num_workers(self) -> int:
        """Actors of the pool."""
        return len(self.names)

    def map(self, method: str, tasks: Sequence[tuple[Any, ...]], *, shared: np.ndarray | None = None) -> list[Any]:
        """Call ``worker.method(shared, *task)`` for every task; see the protocol."""
        import ray

        actors = [ray.get_actor(name) for name in self.names]
        reference = None if shared is None else ray.put(shared)
        idle, todo = list(actors), list(reversed(range(len(tasks))))
        running: dict[Any, tuple[int, Any]] = {}
        results: dict[int, Any] = {}
        while todo or running:
            while todo and idle:
                index, actor = todo.pop(), idle.pop()
                running[actor.call.remote(method, reference, tasks[index])] = (index, actor)
            finished, _ = ray.wait(list(running), num_returns=1)
            for done in finished:
                index, actor = running.pop(done)
                results[index] = _get(done)
                idle.append(actor)
        return [results[index] for index in range(len(tasks))]

    def stop(self) -> None:
        """End the pool's processes."""
        import ray

        for name in self.names:
            try:
                ray.kill(ray.get_actor(name))
            except ValueError:
                continue  # that actor is gone already


class _PoolActor:
    """A Ray actor that holds one worker."""

    def __init__(self, worker_class: type, threads: int) -> None:
        bound_threads(threads)
        self._worker = worker_class()
        bound_threads(threads)  # again for the libraries that the worker loaded

    def ready(self) -> None:
        """Answer once the worker is there."""

    def call(self, method: str, shared: np.ndarray | None, task: tuple[Any, ...]) -> Any:
        """Call a method of the worker; ``shared`` arrives without a copy, read-only."""
        return getattr(self._worker, method)(*(() if shared is None else (shared,)), *task)


def _call(function: Callable[[T], R], shard: T, threads: int) -> R:
    bound_threads(threads)
    return function(shard)


def _get(reference: Any) -> Any:
    """Return a result, or raise the error as the function raised it."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, (UserError, OSError)):
            raise cause from error
        raise


def _fit(job: TrainJob, *, use_gpu: bool) -> None:
    """Run the ranks with Ray Train; our own checkpoints in ``checkpoint_dir`` serve restarts.

    Ray Train registers reported checkpoints with a delay and loses the pending ones when a rank dies, so none is
    reported to it.
    """
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    # A name of its own, because Ray Train would silently continue a run of the same name.
    name = f"genvar-{uuid.uuid4().hex[:12]}"
    storage = job.checkpoint_dir / "ray"
    trainer = TorchTrainer(
        _ray_rank,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=job.num_workers, use_gpu=use_gpu, resources_per_worker=_rank_resources(use_gpu)
        ),
        run_config=RunConfig(  # type: ignore[call-arg] # the stubs show the class of the older Ray Train
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        raise_user_error(job.checkpoint_dir)
        for cause in getattr(error, "worker_failures", {}).values():
            if isinstance(cause, OSError) and cause.errno is not None:
                raise cause from error
        raise
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _rank_resources(use_gpu: bool) -> dict[str, float]:
    return {"CPU": 1, "GPU": 1} if use_gpu else {"CPU": 1}


def _ray_rank(config: dict[str, Any]) -> None:
    import ray.train
    from ray.train.torch import get_device

    run_rank(config["job"], ray.train.get_context().get_world_rank(), get_device())
