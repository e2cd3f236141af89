import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from infra.compute.local_pool import LocalPool
from reid_core.errors import UserError
from tests.infra.compute import toys


def _wait_until(happened: Callable[[], bool], seconds: float = 30) -> None:
    last = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < last, "in vain"
        time.sleep(0.05)


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    made = LocalPool(toys.Counter, 2, threads=1)
    yield made
    made.close()


def test_a_pool_that_crossed_a_pickle_reaches_the_same_processes(pool: LocalPool) -> None:
    copy = pickle.loads(pickle.dumps(pool.workers))
    assert set(copy.map("process", [()] * 8)) <= {process.pid for process in pool._processes}
    assert copy.map("total", [(2.0,)], shared=np.ones(3, dtype=np.float32)) == [6.0]


def test_a_killed_worker_is_replaced_and_its_task_done_again(pool: LocalPool) -> None:
    before = {process.pid for process in pool._processes}
    shared = np.ones(4, dtype=np.float32)
    killer = threading.Timer(0.3, os.kill, (pool._processes[0].pid, signal.SIGKILL))
    killer.start()
    tasks = [(float(i), 0.1) for i in range(20)]
    assert pool.workers.map("slow_total", tasks, shared=shared) == [4.0 * i for i in range(20)]
    killer.join()
    _wait_until(lambda: all(process.is_alive() for process in pool._processes))
    assert len(set(pool.workers.map("slow_process", [(0.1,)] * 8)) - before) == 1


def test_a_worker_that_is_killed_again_and_again_leaves_its_tasks_to_the_other(pool: LocalPool) -> None:
    for _ in range(3):
        victim = pool._processes[0].pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        _wait_until(lambda pid=victim: (pool.folder / "0.gone").exists() or pool._processes[0].pid != pid)  # type: ignore[misc]
    assert (pool.folder / "0.gone").exists()
    assert len(set(pool.workers.map("slow_process", [(0.05,)] * 6))) == 1


def test_a_task_that_kills_every_worker_ends_the_call(pool: LocalPool) -> None:
    with pytest.raises(RuntimeError, match="all 2 workers of the pool are gone"):
        pool.workers.map("die", [()])  # kills every worker that tries, three times each


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
    _wait_until(lambda: all((pool.folder / f"{index}.gone").exists() for index in range(2)))
    with pytest.raises(RuntimeError, match="all 2 workers of the pool are gone"):
        pool.workers.map("process", [()])
