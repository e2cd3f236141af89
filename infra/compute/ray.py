"""Compute on Ray: a cluster of its own on this machine, or the one that RAY_ADDRESS names."""

import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from infra.compute.processes import MAX_RESTARTS
from infra.compute.protocol import TrainContext, Workers
from infra.compute.rank import TrainJob, forget_user_error, raise_user_error, run_rank
from infra.compute.ray_cluster import connect, disconnect, joins_cluster, probe_address
from infra.compute.ray_demand import Demand, node_resources, wait_for
from infra.compute.ray_nodes import check_nodes
from infra.compute.ray_pool import call_shard, result_of, start_ray_pool
from infra.messages import follow_messages
from infra.progress import follow_file, progress_bar
from infra.tracking.protocol import Tracker

T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")

_SECONDS_BETWEEN_LOOKS = 0.2


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
        self._is_prepared = False
        self._handles: list[Any] = []  # of the actors of every pool

    def check(self) -> None:
        """Refuse an address that does not answer; starts nothing."""
        probe_address()

    def prepare(self, read: Sequence[Path], *, written: Path | None = None) -> None:
        """Join the cluster that RAY_ADDRESS names, and look at every node of it; see the protocol."""
        self._is_prepared = True
        if joins_cluster():
            _ = self._resources
            check_nodes(tuple(path.absolute() for path in read), written=written)

    @cached_property
    def _resources(self) -> tuple[int, int]:
        assert self._is_prepared or not joins_cluster(), "prepare() comes before any work on a cluster that was joined"
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
        sizes = [1] * len(shards) if sizes is None else sizes
        cpus = min(cpus, self.num_cpus)  # joins the cluster, which sets what Ray reads when it is imported
        import ray

        task: Any = ray.remote(call_shard)
        call = task.options(num_cpus=cpus, num_gpus=gpus, max_retries=MAX_RESTARTS)
        bundle = {"CPU": cpus, "GPU": gpus}
        wait_for(Demand(f'"{description}"', bundle, advice="use nodes that have as many"), grows=joins_cluster())
        todo = list(reversed(range(len(shards))))
        running: dict[Any, int] = {}
        results: dict[int, R] = {}
        with progress_bar(description, sum(sizes), unit) as bar:
            while todo or running:
                # Enough to keep every CPU busy; more would only fill the scheduler with a large data set's shards.
                # Asked anew each time, because nodes come and go.
                in_flight = max(2, int(2 * sum(node.get("CPU", 0) for node in node_resources()) / cpus))
                while todo and len(running) < in_flight:
                    index = todo.pop()
                    running[call.remote(function, shards[index], max(1, int(cpus)))] = index
                finished, _ = ray.wait(list(running), num_returns=1)
                for reference in finished:
                    results[running.pop(reference)] = result_of(reference)
                bar.show(sum(sizes[index] for index in results), {})
        return [results[index] for index in range(len(shards))]

    def start_workers(self, worker_class: type, num_workers: int, *, cpus: float = 1, memory_bytes: int = 0) -> Workers:
        """Start a pool of ``worker_class()`` instances as Ray actors; see the protocol."""
        _ = self._resources  # joins the cluster
        bundle = {"memory": memory_bytes} if joins_cluster() else {}
        advice = "use nodes with more memory"
        wait_for(Demand(f"the pool of {worker_class.__name__}", bundle, num_workers, advice), grows=joins_cluster())
        threads = max(1, min(int(cpus), _smallest_node()))
        workers, handles = start_ray_pool(
            worker_class, num_workers, threads=threads, memory_bytes=int(bundle.get("memory", 0))
        )
        self._handles.extend(handles)  # a named actor ends when its last handle is gone
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
        """Run a training loop on Ray Train ranks; see the protocol."""
        use_gpu = self.num_gpus > 0
        advice = f"lower num_ranks={num_ranks} of the stage"
        wait_for(Demand(description, _rank_resources(use_gpu), num_ranks, advice), grows=joins_cluster())
        checkpoint_dir.mkdir(parents=True, exist_ok=True)
        forget_user_error(checkpoint_dir)
        threads = _threads(num_ranks)
        job = TrainJob(loop, argument, num_ranks, checkpoint_dir, tracker, workers, threads, self._deterministic)
        with (
            progress_bar(description, num_images, "images") as bar,
            follow_file(job.progress_path, bar),
            follow_messages(job.messages_path),
        ):
            _fit(job, use_gpu=use_gpu)
        raise_user_error(checkpoint_dir)

    def close(self) -> None:
        """End the cluster that was started here, or leave the one that was joined."""
        self._handles.clear()
        if "_resources" in self.__dict__:
            disconnect()
            del self.__dict__["_resources"]


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
            num_workers=job.num_ranks, use_gpu=use_gpu, resources_per_worker=_rank_resources(use_gpu)
        ),
        run_config=RunConfig(  # type: ignore[call-arg] # the stubs show the class of the older Ray Train
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        _call_aside(trainer.fit)
    except Exception as error:
        raise_user_error(job.checkpoint_dir)
        for cause in getattr(error, "worker_failures", {}).values():
            if isinstance(cause, OSError) and cause.errno is not None:
                raise cause from error
        raise
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _call_aside(function: Callable[[], object]) -> None:
    """Call a function in a thread of its own and wait for it.

    In the main thread Ray Train would take over Ctrl-C, for good, and turn it into an exit of its own after a while.
    """
    errors: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again where this thread is waited for
            errors.append(error)

    thread = threading.Thread(target=call, name="training", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_SECONDS_BETWEEN_LOOKS)
    if errors:
        raise errors[0]


def _threads(num_ranks: int) -> int:
    """Return the threads of a rank: its share of all CPUs, and no more than the smallest node that computes has."""
    return max(1, min(sum(_cpus_of_nodes()) // num_ranks, _smallest_node()))


def _smallest_node() -> int:
    return min(_cpus_of_nodes())


def _cpus_of_nodes() -> list[int]:
    return [int(node["CPU"]) for node in node_resources() if node.get("CPU", 0) >= 1] or [1]


def _rank_resources(use_gpu: bool) -> dict[str, float]:
    return {"CPU": 1, "GPU": 1} if use_gpu else {"CPU": 1}


def _ray_rank(config: dict[str, Any]) -> None:
    import ray.train
    from ray.train.torch import get_device

    run_rank(config["job"], ray.train.get_context().get_world_rank(), get_device())
