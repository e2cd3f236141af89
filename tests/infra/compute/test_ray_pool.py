"""What needs a running Ray is tested in ``test_compute``: here is what does not."""

import os
import pickle

import numpy as np

from infra.compute.ray_pool import RayWorkers, _PoolActor, call_shard
from tests.infra.compute import toys


def test_the_pool_is_its_names_wherever_it_is_sent() -> None:
    workers = RayWorkers(("a", "b"))
    assert pickle.loads(pickle.dumps(workers)) == workers
    assert workers.num_workers == 2


def test_an_actor_calls_its_worker_with_and_without_the_shared_array() -> None:
    actor = _PoolActor(toys.Counter, 1)
    actor.ready()
    shared = np.array([1.0, 2.0], dtype=np.float32)
    shared.flags.writeable = False  # as Ray hands it over
    assert actor.call("total", shared, (3.0,)) == 9.0
    assert actor.call("process", None, ()) == os.getpid()


def test_a_shard_is_computed_with_the_threads_it_was_given() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    try:
        assert call_shard(toys.square, 5, 1) == (25, "1")
    finally:
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
