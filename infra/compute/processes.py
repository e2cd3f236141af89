"""Calls in spawned processes of this machine.

A process that dies costs the call it worked on one attempt, and no other call. (The executor of the standard library
ends all of its processes when one dies, so that the calls beside it lose their work too.) A pool may serve FAISS, which
crashes beside torch, so this module does not load torch.
"""

import multiprocessing
import pickle
import shutil
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from infra.compute.lifetime import end_with_parent
from infra.compute.machine import bound_threads
from reid_core.errors import UserError

# A call whose process dies is made again this often.
MAX_RESTARTS = 2


class ProcessPool:
    """Processes that answer calls, each one call at a time.

    Args:
        size: Number of processes.
        threads: Threads that the numerical libraries of each process may use.
        prepare: Called in every process before its first call.
    """

    def __init__(self, size: int, *, threads: int, prepare: Callable[[], object] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="genvar-pool-")
        self._start = partial(_Process, threads, prepare, self.folder)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="genvar-calls")  # each waits for one process
        self._lock = threading.Lock()
        self._is_closed = False
        self._processes = [self._start() for _ in range(size)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)

    @property
    def folder(self) -> Path:
        """Folder for what the calls share; it goes with the pool, however that ends."""
        return Path(self._folder.name)

    def map(
        self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], on_result: Callable[[int], None]
    ) -> list[Any]:
        """Call ``function(*task)`` for every task.

        Args:
            function: Importable by name.
            tasks: Positional arguments of each call.
            on_result: Told the index of a task that is done, from this thread.

        Returns:
            Results in the order of ``tasks``.
        """
        futures = {self._threads.submit(self._call, function, task): index for index, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                future.result()
                on_result(futures[future])
        finally:
            for future in futures:
                future.cancel()  # after an error nothing more is begun
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the processes; after an error or Ctrl-C nobody waits for calls that they still work on."""
        with self._lock:
            self._is_closed = True
        for process in self._processes:
            process.end()
        self._threads.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def _call(self, function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
        process = self._idle.get()
        try:
            for _ in range(MAX_RESTARTS + 1):
                try:
                    return process.call(function, task)
                except _DiedError:
                    end, process = process.end(), self._replacement(process)
        finally:
            self._idle.put(process)
        raise UserError(
            f"processes died {MAX_RESTARTS + 1} times over one piece of work, the last by {end}, mostly for want of "
            "memory; use fewer at a time (--num-cpus, or num_workers of the stage) or a machine with more memory"
        )

    def _replacement(self, dead: "_Process") -> "_Process":
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the pool was closed during a call")
            self._processes[self._processes.index(dead)] = process = self._start()
        return process


class _DiedError(Exception):
    """The process at the other end of a connection is gone."""


class _Process:
    """One process, seen from its parent."""

    def __init__(self, threads: int, prepare: Callable[[], object] | None, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_answer, args=(child, threads, folder), name="genvar-calls", daemon=True)
        self._process.start()
        child.close()  # so that the end of the process ends the connection
        self._prepare = prepare

    def call(self, function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
        """Return the result, or raise the error that the function raised."""
        if self._prepare is not None:
            self._exchange(self._prepare, ())
            self._prepare = None
        return self._exchange(function, task)

    def end(self) -> str:
        """End the process where it has not ended by itself, and return how it ended."""
        self._process.terminate()
        self._process.join()
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _exchange(self, function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
        try:
            self._connection.send((function, task))
            result, error = self._connection.recv()
        except (OSError, EOFError) as broken:
            raise _DiedError from broken
        if error is not None:
            raise error
        return result


def _answer(connection: Connection, threads: int, folder: Path) -> None:
    """Answer calls until the connection or the parent ends."""
    end_with_parent(partial(shutil.rmtree, folder, ignore_errors=True))
    bound_threads(threads)
    while True:
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        try:
            function, task = pickle.loads(call)
            connection.send((function(*task), None))
        except Exception as error:  # noqa: BLE001 - raised again where the call came from
            if hasattr(error, "add_note"):  # Python 3.11 and later
                error.add_note("in another process:\n" + "".join(traceback.format_exception(error)))
            connection.send((None, error))


_worker: list[object] = []  # of this process, once it is prepared


def prepare_worker(worker_class: type, threads: int) -> None:
    """Make the worker of this process."""
    _worker[:] = [worker_class()]
    bound_threads(threads)  # again, for the libraries that the worker loaded


def call_worker(method: str, shared: Path | None, task: tuple[Any, ...]) -> Any:
    """Call a method of the worker of this process; a shared array is mapped into memory, read-only."""
    arrays = () if shared is None else (np.load(shared, mmap_mode="r"),)
    return getattr(_worker[0], method)(*arrays, *task)
