"""Tests that need no running Ray; those that do are in ``test_compute``."""

import os
import pickle

import numpy as np
import pytest
import ray.exceptions as of_ray

from infra.compute.ray_pool import RayWorkers, _PoolActor, call_shard, explained
from tests.infra.compute import toys


def test_the_pool_is_its_names_wherever_it_is_sent() -> None:
    workers = RayWorkers(("a", "b"))
    assert pickle.loads(pickle.dumps(workers)) == workers
    assert workers.num_workers == 2


def test_an_actor_calls_its_worker_with_and_without_the_shared_array() -> None:
    actor = _PoolActor(toys.Counter, 1)
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


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (of_ray.OutOfDiskError("full"), "spilling"),
        (of_ray.ObjectStoreFullError("full"), "--shm-size"),
        (of_ray.OutOfMemoryError("killed"), "smaller batch"),  # type: ignore[no-untyped-call]
        (of_ray.RuntimeEnvSetupError("no such package\nmore"), "could not be given the code"),
    ],
)
def test_what_the_user_can_mend_is_said(error: Exception, wanted: str) -> None:
    sentence = explained(error)
    assert sentence is not None
    assert wanted in str(sentence)
    assert "\n" not in str(sentence)


def test_the_cause_counts_too() -> None:
    outer = RuntimeError("training failed")
    outer.__cause__ = of_ray.ObjectStoreFullError("full")
    assert "object store" in str(explained(outer))


def test_other_errors_stay_what_they_are() -> None:
    assert explained(ValueError("something else")) is None
    assert explained(of_ray.ActorDiedError()) is None
