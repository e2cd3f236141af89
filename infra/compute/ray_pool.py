"""Calls on Ray: a pool of stateful workers as actors, one shard as a task, and their errors in sentences.

A pool may serve FAISS, which crashes beside torch, so this module does not load torch.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from infra.compute.machine import bound_threads
from infra.compute.processes import MAX_RESTARTS
from reid_core.errors import UserError, first_line

T = TypeVar("T")
R = TypeVar("R")

# A call that meets an actor on its way to another node fails; it is made again this often, after a pause.
_MAX_CALLS = 20
_SECONDS_BETWEEN_CALLS = 1.0


@dataclass(frozen=True)
class RayWorkers:
    """Implements ``infra.compute.protocol.Workers``; knows its actors by name, so that it is picklable.

    Attributes:
        names: Names of the actors.
    """

    names: tuple[str, ...]

    @property
    def num_workers(self) -> int:
        """Actors of the pool."""
        return len(self.names)

    def map(
        self,
        method: str,
        tasks: Sequence[tuple[Any, ...]],
        *,
        shared: np.ndarray | None = None,
        on_result: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Call ``worker.method(shared, *task)`` for every task; see the protocol."""
        import ray

        reference = None if shared is None else ray.put(shared)
        idle, todo = [ray.get_actor(name) for name in self.names], list(reversed(range(len(tasks))))
        running: dict[Any, tuple[int, Any]] = {}
        results: dict[int, Any] = {}
        calls: Counter[int] = Counter()
        while todo or running:
            while todo and idle:
                index, actor = todo.pop(), idle.pop()
                calls[index] += 1
                running[actor.call.remote(method, reference, tasks[index])] = (index, actor)
            finished, _ = ray.wait(list(running), num_returns=1)
            for done in finished:
                index, actor = running.pop(done)
                try:
                    results[index] = result_of(done)
                    if on_result is not None:
                        on_result(len(results))
                except ray.exceptions.ActorUnavailableError:
                    # Its node was lost, and the actor is being started on another one.
                    if calls[index] >= _MAX_CALLS:
                        raise
                    todo.append(index)
                    time.sleep(_SECONDS_BETWEEN_CALLS)
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


def start_ray_pool(
    worker_class: type, num_workers: int, *, threads: int, memory_bytes: int = 0
) -> tuple[RayWorkers, list[Any]]:
    """Start the actors of a pool.

    Args:
        worker_class: Called without arguments in every actor.
        num_workers: Number of actors.
        threads: Threads of each.
        memory_bytes: Memory that Ray sets aside for each.

    Returns:
        The pool, and the handles that keep it alive.
    """
    import ray

    # An environment of its own keeps Ray from reusing a process that has loaded torch.
    environment = {"env_vars": {"GENVAR_POOL": "1", "OMP_NUM_THREADS": str(threads)}}
    names = tuple(f"genvar-{worker_class.__name__}-{uuid.uuid4().hex}" for _ in range(num_workers))
    actor: Any = ray.remote(_PoolActor)
    handles = [
        actor.options(
            name=name,
            # No CPU is set aside: training and clustering take turns on the same ones, and a reservation could leave
            # none for the other, at the latest when a node is lost.
            num_cpus=0,
            memory=memory_bytes or None,
            scheduling_strategy=place,
            max_restarts=MAX_RESTARTS,
            max_task_retries=MAX_RESTARTS,
            runtime_env=environment,
        ).remote(worker_class, threads)
        for name, place in zip(names, _places(num_workers), strict=True)
    ]
    for handle in handles:
        result_of(handle.__ray_ready__.remote())
    return RayWorkers(names), handles


def _places(count: int) -> list[Any]:
    """Spread actors over the nodes that have CPUs; when a node is lost, its actors go wherever there is room."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    able = [str(node["NodeID"]) for node in nodes if node["Resources"].get("CPU", 0) >= 1]
    if not able:
        return ["DEFAULT"] * count
    return [NodeAffinitySchedulingStrategy(able[i % len(able)], soft=True) for i in range(count)]


def call_shard(function: Callable[[T], R], shard: T, threads: int) -> R:
    """Apply a function to one shard; the body of a Ray task."""
    bound_threads(threads)
    return function(shard)


def result_of(reference: Any) -> Any:
    """Return a result, or raise the error as the function raised it."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, (UserError, OSError)):
            raise cause from error
        raise
    except ray.exceptions.RayError as error:
        if (sentence := explained(error)) is not None:
            raise sentence from error
        raise


def explained(error: BaseException) -> UserError | None:
    """Return the sentence for an error of Ray that the user can mend, or None for any other.

    Args:
        error: As Ray raised it; what it comes from is looked at too.
    """
    import ray.exceptions as of_ray

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, of_ray.OutOfDiskError):
            return UserError(
                "Ray ran out of disk space while it moved objects from its memory to the disk (spilling); free some "
                "where Ray's temporary folder is (/tmp, or --temp-dir of ray start), then give the same command again"
            )
        if isinstance(cause, of_ray.ObjectStoreFullError):
            return UserError(
                "the object store of Ray is full and cannot spill; give it more (ray start --object-store-memory, "
                "docker --shm-size, or an emptyDir of medium Memory at /dev/shm), then give the same command again"
            )
        if isinstance(cause, of_ray.OutOfMemoryError):
            return UserError(
                "a process was ended because the memory of its node ran out; use fewer processes at a time "
                "(--num-cpus, or num_ranks and num_workers of the stage), a smaller batch, or a node with more memory"
            )
        if isinstance(cause, of_ray.RuntimeEnvSetupError):
            return UserError(
                f"a node could not be given the code ({first_line(cause)}); use the same image or virtual environment "
                "on every node"
            )
        cause = getattr(cause, "cause", None) or cause.__cause__
    return None


class _PoolActor:
    """A Ray actor that holds one worker."""

    def __init__(self, worker_class: type, threads: int) -> None:
        bound_threads(threads)
        self._worker = worker_class()
        bound_threads(threads)  # again for the libraries that the worker loaded

    def call(self, method: str, shared: np.ndarray | None, task: tuple[Any, ...]) -> Any:
        """Call a method of the worker; ``shared`` arrives without a copy, read-only."""
        return getattr(self._worker, method)(*(() if shared is None else (shared,)), *task)
