"""A pool of stateful workers in spawned processes of this machine.

The workers' processes must not load torch (FAISS crashes beside it), so this module does not either.
"""

import contextlib
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
import traceback
import uuid
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Client, Connection, Listener, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from infra.compute.lifetime import end_with_parent
from infra.compute.machine import bound_threads

_MAX_RESTARTS = 2  # of one worker
_SECONDS_TO_RETURN = 60.0  # in which a worker that died is there again
_SECONDS_BETWEEN_TRIES = 0.1


@dataclass(frozen=True)
class LocalWorkers:
    """Implements ``infra.compute.protocol.Workers``; reaches its processes through sockets, so that it is picklable.

    Attributes:
        num_workers: Processes of the pool.
        folder: Holds the sockets and the shared arrays.
        key: Secret that both ends of a socket know.
    """

    num_workers: int
    folder: Path
    key: bytes = field(repr=False)

    def map(
        self,
        method: str,
        tasks: Sequence[tuple[Any, ...]],
        *,
        shared: np.ndarray | None = None,
        on_result: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Call ``worker.method(shared, *task)`` for every task; see the protocol."""
        path = None
        if shared is not None:
            path = self.folder / f"shared-{uuid.uuid4().hex}.npy"
            np.save(path, shared)
        try:
            return _Calls(self, method, tasks, path, on_result).run()
        finally:
            if path is not None:
                path.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the pool's processes."""
        for index in range(self.num_workers):
            try:
                with self._connect(index) as connection:
                    connection.send(None)
            except OSError:
                continue  # that worker is gone already

    def _connect(self, index: int) -> Connection:
        return Client(str(_socket(self.folder, index)), family="AF_UNIX", authkey=self.key)


class _Calls:
    """One ``map``: a thread a worker takes tasks off a queue; a task of a dead worker goes to whoever is free next."""

    def __init__(
        self,
        pool: LocalWorkers,
        method: str,
        tasks: Sequence[tuple[Any, ...]],
        shared_path: Path | None,
        on_result: Callable[[int], None] | None,
    ) -> None:
        self._pool, self._method, self._tasks, self._shared_path = pool, method, tasks, shared_path
        self._on_result = on_result
        self._queue: SimpleQueue[int] = SimpleQueue()
        self._results: dict[int, Any] = {}
        self._errors: list[Exception] = []

    def run(self) -> list[Any]:
        for index in range(len(self._tasks)):
            self._queue.put(index)
        while len(self._results) < len(self._tasks) and not self._errors:
            there = [worker for worker in range(self._pool.num_workers) if not _is_gone(self._pool.folder, worker)]
            if not there:
                raise RuntimeError(
                    f"all {self._pool.num_workers} workers of the pool are gone (killed, out of memory?)"
                )
            threads = [threading.Thread(target=self._serve, args=(worker,)) for worker in there]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
        return [self._results[index] for index in range(len(self._tasks))]

    def _serve(self, worker: int) -> None:
        """Give tasks to one worker until none is left or the worker dies."""
        index = -1
        try:
            with self._connected(worker) as connection:
                while not self._errors:
                    index = self._queue.get_nowait()
                    connection.send((self._method, self._shared_path, self._tasks[index]))
                    result, error = connection.recv()
                    if error is not None:
                        self._errors.append(error)
                        return
                    self._results[index] = result
                    if self._on_result is not None:
                        self._on_result(len(self._results))
                    index = -1
        except Empty:
            return
        except (OSError, EOFError):
            if index >= 0:
                self._queue.put(index)

    def _connected(self, worker: int) -> Connection:
        """Connect to a worker, or to the one that replaces it, while there is something to do."""
        last = time.monotonic() + _SECONDS_TO_RETURN
        while True:
            try:
                return self._pool._connect(worker)
            except (OSError, EOFError):
                if self._queue.empty() or _is_gone(self._pool.folder, worker) or time.monotonic() > last:
                    raise
                time.sleep(_SECONDS_BETWEEN_TRIES)


class LocalPool:
    """Starts the processes, replaces those that die, and ends them."""

    def __init__(self, worker_class: type, num_workers: int, *, threads: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="genvar-pool-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)  # also where nobody calls close
        key = uuid.uuid4().bytes + uuid.uuid4().bytes
        self.workers = LocalWorkers(num_workers, self.folder, key)
        self._start_one: Callable[[int, Connection], BaseProcess] = partial(
            _start_process, worker_class, self.folder, key, threads
        )
        self._processes: list[BaseProcess] = []
        starting: list[Connection] = []
        context = multiprocessing.get_context("spawn")
        for index in range(num_workers):
            ready, child = context.Pipe(duplex=False)
            self._processes.append(self._start_one(index, child))
            child.close()
            starting.append(ready)
        for ready in starting:
            self._wait_for(ready)
        self._closing = threading.Event()
        self._nurse = threading.Thread(
            target=_replace_dead, args=(self._processes, self._start_one, self.folder, self._closing), daemon=True
        )
        self._nurse.start()

    def close(self) -> None:
        """End the processes, at once."""
        if nurse := getattr(self, "_nurse", None):
            self._closing.set()
            nurse.join()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_for(self, ready: Connection) -> None:
        try:
            error = ready.recv()
        except EOFError:
            error = RuntimeError("a worker of the pool died while it started")
        if error is not None:
            self.close()
            raise error


def _start_process(
    worker_class: type, folder: Path, key: bytes, threads: int, index: int, ready: Connection
) -> BaseProcess:
    context = multiprocessing.get_context("spawn")
    arguments = (worker_class, folder, index, key, threads, ready)
    process = context.Process(target=_work, args=arguments, name=f"genvar-worker-{index}", daemon=True)
    process.start()
    return process


def _replace_dead(
    processes: list[BaseProcess],
    start: Callable[[int, Connection], BaseProcess],
    folder: Path,
    closing: threading.Event,
) -> None:
    """Start a worker again whose process was killed, a few times; the calls find it at the same socket."""
    restarts = [0] * len(processes)
    watched = set(range(len(processes)))
    while watched and not closing.is_set():
        wait([processes[index].sentinel for index in watched], timeout=_SECONDS_BETWEEN_TRIES)
        for index in sorted(watched):
            if processes[index].is_alive() or closing.is_set():
                continue
            # A worker that was told to stop ends with 0.
            if processes[index].exitcode == 0 or restarts[index] == _MAX_RESTARTS:
                _gone_mark(folder, index).touch()
                watched.remove(index)
                continue
            restarts[index] += 1
            _socket(folder, index).unlink(missing_ok=True)
            ready, child = multiprocessing.get_context("spawn").Pipe(duplex=False)
            processes[index] = start(index, child)  # whether it comes up is seen by its end, like any other
            child.close()
            ready.close()


def _gone_mark(folder: Path, index: int) -> Path:
    return folder / f"{index}.gone"


def _is_gone(folder: Path, index: int) -> bool:
    """Tell whether a worker will not come back: stopped, killed too often, or its pool was closed."""
    return _gone_mark(folder, index).exists() or not folder.exists()


def _socket(folder: Path, index: int) -> Path:
    return folder / f"{index}.sock"


def _work(worker_class: type, folder: Path, index: int, key: bytes, threads: int, ready: Connection) -> None:
    """Serve calls until told to stop or until the parent is gone."""
    end_with_parent(lambda: shutil.rmtree(folder, ignore_errors=True))
    bound_threads(threads)
    try:
        worker = worker_class()
        bound_threads(threads)  # again for the libraries that the worker loaded
        listener = Listener(str(_socket(folder, index)), family="AF_UNIX", authkey=key)
    except Exception as error:  # noqa: BLE001 - handed to the process that waits for this one
        _tell(ready, _described(error))
        sys.exit(1)
    _tell(ready, None)
    while True:
        with listener.accept() as connection:
            if not _serve(worker, connection):
                listener.close()
                return


def _tell(ready: Connection, error: Exception | None) -> None:
    with contextlib.suppress(OSError):  # nobody waits for a worker that replaces another one
        ready.send(error)
    ready.close()


def _serve(worker: object, connection: Connection) -> bool:
    """Answer the calls of one connection; False when it said stop."""
    while True:
        try:
            call = connection.recv()
        except EOFError:
            return True
        if call is None:
            return False
        method, shared_path, task = call
        try:
            shared = () if shared_path is None else (np.load(shared_path, mmap_mode="r"),)
            answer: tuple[Any, Exception | None] = (getattr(worker, method)(*shared, *task), None)
        except Exception as error:  # noqa: BLE001 - raised again where the call came from
            answer = (None, _described(error))
        connection.send(answer)


def _described(error: Exception) -> Exception:
    if hasattr(error, "add_note"):  # Python 3.11 and later
        error.add_note("in a worker of the pool:\n" + "".join(traceback.format_exception(error)))
    return error
