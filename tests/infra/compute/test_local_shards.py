import os
import signal
from pathlib import Path

import pytest

from infra.compute.local_shards import map_in_processes
from reid_core.errors import UserError
from tests.infra.compute import toys


def always_die(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def no_such_thing(number: int) -> None:
    raise OSError(2, "no such thing", str(number))


def test_order_threads_and_progress() -> None:
    done: list[int] = []
    found = map_in_processes(toys.square, [3, 1, 2, 5], slots=2, threads=1, restarts=0, on_result=done.append)
    assert found == [(9, "1"), (1, "1"), (4, "1"), (25, "1")]
    assert sorted(done) == [0, 1, 2, 3]


def test_only_the_shard_of_a_dead_process_is_done_again(tmp_path: Path) -> None:
    markers = [tmp_path / name for name in "abcd"]
    found = map_in_processes(toys.die_once, markers, slots=2, threads=1, restarts=1, on_result=lambda _: None)
    assert found == ["a", "b", "c", "d"]


def test_a_shard_that_always_dies_ends_it() -> None:
    with pytest.raises(RuntimeError, match="died 2 times over one shard"):
        map_in_processes(always_die, [1, 0], slots=1, threads=1, restarts=1, on_result=lambda _: None)


def test_errors_arrive_as_they_were() -> None:
    with pytest.raises(UserError, match="7 is not wanted"):
        map_in_processes(toys.refuse, [7], slots=1, threads=1, restarts=0, on_result=lambda _: None)
    with pytest.raises(OSError, match="no such thing") as caught:
        map_in_processes(no_such_thing, [7], slots=1, threads=1, restarts=0, on_result=lambda _: None)
    assert caught.value.errno == 2
