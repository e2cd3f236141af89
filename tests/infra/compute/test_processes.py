import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from infra.compute.processes import ProcessPool, call_worker, prepare_worker
from reid_core.errors import UserError
from tests.infra.compute import toys


def always_die(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def no_such_thing(number: int) -> None:
    raise OSError(2, "no such thing", str(number))


def not_to_be_sent(number: int) -> object:
    return lambda: number


def _map(pool: ProcessPool, function: Callable[..., object], arguments: list[object]) -> list[object]:
    return pool.map(function, [(argument,) for argument in arguments], lambda _: None)


def _pids(pool: ProcessPool) -> list[int]:
    return [process._process.pid or 0 for process in pool._processes]


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    with closing(ProcessPool(2, threads=1, prepare=partial(prepare_worker, toys.Counter, 1))) as made:
        yield made


def test_order_threads_and_progress(pool: ProcessPool) -> None:
    done: list[int] = []
    assert pool.map(toys.square, [(3,), (1,), (2,), (5,)], done.append) == [(9, "1"), (1, "1"), (4, "1"), (25, "1")]
    assert sorted(done) == [0, 1, 2, 3]


def test_only_the_call_of_a_dead_process_is_made_again(pool: ProcessPool, tmp_path: Path) -> None:
    assert _map(pool, toys.die_once, [tmp_path / name for name in "abcd"]) == ["a", "b", "c", "d"]


def test_a_call_that_always_kills_its_process_ends_in_a_sentence(pool: ProcessPool) -> None:
    with pytest.raises(UserError, match=r"died 3 times over one piece of work, the last by SIGKILL.*use fewer"):
        _map(pool, always_die, [1, 0])
    assert _map(pool, always_die, [1, 2]) == [1, 2]


def test_errors_arrive_as_they_were(pool: ProcessPool) -> None:
    with pytest.raises(UserError, match="7 is not wanted"):
        _map(pool, toys.refuse, [7])
    with pytest.raises(OSError, match="no such thing") as caught:
        _map(pool, no_such_thing, [7])
    assert caught.value.errno == 2
    with pytest.raises(AttributeError, match="not_to_be_sent"):
        _map(pool, not_to_be_sent, [7])


def test_an_error_of_the_preparation_arrives_too() -> None:
    with (
        closing(ProcessPool(2, threads=1, prepare=partial(toys.refuse, 7))) as pool,
        pytest.raises(UserError, match="7 is not wanted"),
    ):
        _map(pool, toys.square, [1])


def test_a_killed_worker_is_replaced_and_prepared_like_the_first(pool: ProcessPool, tmp_path: Path) -> None:
    np.save(tmp_path / "shared.npy", np.ones(4, dtype=np.float32))
    before = _pids(pool)
    killer = threading.Timer(1.5, os.kill, (before[0], signal.SIGKILL))
    killer.start()
    tasks = [("slow_total", tmp_path / "shared.npy", (float(i), 0.1)) for i in range(50)]
    assert pool.map(call_worker, tasks, lambda _: None) == [4.0 * i for i in range(50)]
    killer.join()
    assert len(set(_pids(pool)) - set(before)) == 1


def test_the_folder_goes_with_the_pool() -> None:
    pool = ProcessPool(1, threads=1)
    (pool.folder / "shared").touch()
    pool.close()
    assert not pool.folder.exists()


def test_an_error_does_not_wait_for_the_calls_beside_it() -> None:
    with pytest.raises(UserError, match="7 is not wanted"), closing(ProcessPool(2, threads=1)) as pool:
        pool.map(toys.sleep_or_refuse, [(600,), (7,)], lambda _: None)
