import os
import pickle
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from infra.compute.local_pool import LocalPool
from reid_core.errors import UserError
from tests.infra.compute import toys


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    made = LocalPool(toys.Counter, 2, threads=1)
    yield made
    made.close()


def test_a_pool_that_crossed_a_pickle_reaches_the_same_processes(pool: LocalPool) -> None:
    copy = pickle.loads(pickle.dumps(pool.workers))
    before = set(pool.workers.map("process", [()] * 8))
    assert set(copy.map("process", [()] * 8)) <= before | set(pool.workers.map("process", [()] * 8))
    assert copy.map("total", [(2.0,)], shared=np.ones(3, dtype=np.float32)) == [6.0]


def test_tasks_of_a_killed_worker_go_to_the_other(pool: LocalPool) -> None:
    victim = next(process for process in pool.workers.map("process", [()]))
    os.kill(int(victim), signal.SIGKILL)
    time.sleep(0.2)
    shared = np.ones(4, dtype=np.float32)
    assert pool.workers.map("total", [(float(i),) for i in range(6)], shared=shared) == [4.0 * i for i in range(6)]


def test_an_error_keeps_its_sentence(pool: LocalPool) -> None:
    with pytest.raises(UserError, match="the worker refuses"):
        pool.workers.map("fail", [()])


def test_the_shared_array_and_the_folder_do_not_outlive_their_use(pool: LocalPool) -> None:
    pool.workers.map("total", [(1.0,)], shared=np.zeros(2, dtype=np.float32))
    assert not list(pool.folder.glob("shared-*"))
    pool.close()
    assert not pool.folder.exists()


def test_without_any_worker_left_it_says_so(pool: LocalPool) -> None:
    pool.workers.stop()
    time.sleep(0.5)
    with pytest.raises(RuntimeError, match="all 2 workers of the pool are gone"):
        pool.workers.map("process", [()])
