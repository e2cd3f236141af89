"""Shards over processes of this machine. A process that dies costs the shard it worked on one attempt, and no other.

The pool of the standard library ends all of its processes when one dies, so that the shards beside it lose their work
too, and would seem to have died of themselves.
"""

import contextlib
import multiprocessing
import pickle
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from infra.compute.lifetime import start_process

T = TypeVar("T")
R = TypeVar("R")


def map_in_processes(
    function: Callable[[T], R],
    shards: Sequence[T],
    *,
    slots: int,
    threads: int,
    restarts: int,
    on_result: Callable[[int], None],
) -> list[R]:
    """Apply a function to every shard.

    Args:
        function: Importable by name.
        shards: One argument each.
        slots: Processes.
        threads: Of the numerical libraries of each.
        restarts: Deaths that a shard may cost.
        on_result: Told the index of a shard that is done.

    Returns:
        Results in the order of ``shards``.
    """
    todo, results, deaths = deque(range(len(shards))), dict[int, R](), Counter[int]()
    working: list[_Slot] = []
    try:
        working.extend(_Slot(function, threads) for _ in range(slots))
        while len(results) < len(shards):
            for slot in working:
                if slot.index is None and todo:
                    slot.give(todo.popleft(), shards)
            busy = {slot.connection: slot for slot in working if slot.index is not None}
            for connection in wait(list(busy)):
                slot = busy[cast(Connection, connection)]
                index = slot.index
                assert index is not None
                try:
                    results[index] = slot.take()
                    on_result(index)
                except EOFError:
                    deaths[index] += 1
                    if deaths[index] > restarts:
                        raise RuntimeError(f"worker processes died {deaths[index]} times over one shard") from None
                    todo.appendleft(index)
                    slot.end()
                    working[working.index(slot)] = _Slot(function, threads)
        for slot in working:
            slot.dismiss()
    finally:
        # After an error or Ctrl-C, nobody waits for shards that are still worked on.
        for slot in working:
            slot.end()
    return [results[index] for index in range(len(shards))]


class _Slot:
    """One process, and the shard that it works on."""

    def __init__(self, function: Callable[[Any], Any], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, child = context.Pipe()
        self.index: int | None = None
        self._process: BaseProcess = context.Process(
            target=_serve, args=(function, child, threads), name="genvar-shards", daemon=True
        )
        self._process.start()
        child.close()  # so that the end of the process ends the connection

    def give(self, index: int, shards: Sequence[Any]) -> None:
        self.index = index
        with contextlib.suppress(BrokenPipeError):  # it died while it was idle; ``take`` notices
            self.connection.send(shards[index])

    def take(self) -> Any:
        """Return the result, or raise the shard's error; an EOFError when the process is dead."""
        try:
            result, error = self.connection.recv()
        except OSError as reset:
            raise EOFError from reset
        self.index = None
        if error is not None:
            raise error
        return result

    def dismiss(self) -> None:
        """Let the process end by itself."""
        try:
            self.connection.send_bytes(b"")
        except OSError:
            return
        self._process.join()

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _serve(function: Callable[[Any], Any], connection: Connection, threads: int) -> None:
    start_process(threads)
    while call := connection.recv_bytes():
        try:
            answer: tuple[Any, Exception | None] = (function(pickle.loads(call)), None)
        except Exception as error:  # noqa: BLE001 - raised again where the shard came from
            if hasattr(error, "add_note"):  # Python 3.11 and later
                error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
            answer = (None, error)
        connection.send(answer)
