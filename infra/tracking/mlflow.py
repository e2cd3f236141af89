"""A tracker that logs to a run of MLflow in batches and never stops a training, and the journal behind it.

MLflow's own asynchronous logging keeps what it could not send in memory, and drops it when a call fails or the process
is killed; the journal keeps it on disk.
"""

import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from infra.tracking.secrets import redacted
from reid_core.errors import first_line

_log = logging.getLogger(__name__)

_BATCH = 500
_SECONDS_BETWEEN_BATCHES = 5.0
# After a failure nothing is tried for a while, twice as long after each one: a server that hangs instead of refusing
# would otherwise stall the training at every batch.
_SECONDS_AFTER_FAILURE = 30.0
_MOST_SECONDS_AFTER_FAILURE = 600.0

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}


def mlflow_client(uri: str) -> Any:
    """Return an ``MlflowClient`` that is quiet and gives up within seconds."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    _reach_without_proxy(uri)
    # Prints the traceback of every error of the database, which it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with _alone(uri):
        return MlflowClient(tracking_uri=uri)


def database_file(uri: str) -> Path | None:
    """Return the file of an SQLite address; None for every other address, and for a database in memory."""
    from sqlalchemy.engine import make_url

    if not uri.startswith("sqlite"):
        return None
    # Without options such as "?timeout=60".
    database = make_url(uri).database or ""
    if not database.startswith("file:"):
        return Path(database) if database and database != ":memory:" else None
    parts = urlsplit(database)  # SQLite's own kind of address
    return None if parts.path == ":memory:" or "mode=memory" in uri else Path(unquote(parts.path))


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Let one process at a time open a database file: the first one creates its tables, and two at once fail."""
    database = database_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{database}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reach_without_proxy(uri: str) -> None:
    """Keep what is meant for this machine from a proxy, to which its own loopback is another one."""
    host = urlsplit(uri).hostname or "" if uri.startswith("http") else ""
    if host != "localhost" and host != "::1" and not host.startswith("127."):
        return
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [known for known in os.environ.get(name, "").split(",") if known]
        if host not in hosts and "*" not in hosts:
            os.environ[name] = ",".join([*hosts, host])


@dataclass(frozen=True)
class Measurement:
    """One number of one run.

    Attributes:
        key: Name of the metric.
        value: The number.
        timestamp_ms: When it was measured.
        step: Place on the curve.
    """

    key: str
    value: float
    timestamp_ms: int
    step: int


class Journal:
    """Append-only files of measurements, one a process, so that writers never meet.

    Args:
        folder: Seen by every process that logs to the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, measurements: Sequence[Measurement]) -> None:
        """Keep measurements until ``replay``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        with path.open("a") as file:
            file.writelines(json.dumps(asdict(measurement)) + "\n" for measurement in measurements)

    def replay(self, send: Callable[[Sequence[Measurement]], None]) -> int:
        """Send everything that was kept, and forget what was sent.

        Args:
            send: Raises when it cannot; the file at hand then stays.

        Returns:
            Number of measurements sent.
        """
        count = 0
        for path in sorted(self.folder.glob("*.jsonl")):
            # A line cut short by a kill is the last one of its file, and is lost.
            lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            measurements = [Measurement(**json.loads(line)) for line in lines]
            send(measurements)
            path.unlink()
            count += len(measurements)
        return count


class MlflowTracker:
    """Implements ``infra.tracking.protocol.Tracker``; picklable, with a buffer of its own in every process.

    Only the driver opens and closes runs: in a worker, MLflow's fluent interface would end the run of the stage.
    Batches are sent by a thread of their own, so that a training never waits for the store.

    Args:
        uri: Address of the tracking store.
        run_id: Run of the stage.
        journal_dir: Folder for what could not be sent.
    """

    def __init__(self, uri: str, run_id: str, journal_dir: Path) -> None:
        self.uri, self.run_id, self.journal_dir = uri, run_id, journal_dir
        self._lock = threading.Lock()  # of the buffer, taken for moments
        self._sending = threading.Lock()  # of the connection
        self._sender: threading.Thread | None = None
        self._buffer: list[Measurement] = []
        self._sent_at = time.monotonic()
        self._silent_until = 0.0
        self._pause = _SECONDS_AFTER_FAILURE

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "run_id": self.run_id, "journal_dir": self.journal_dir}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc] # the buffer and its lock stay in the process they belong to

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log named numbers; sent with the next batch."""
        now = time.time_ns() // 1_000_000
        with self._lock:
            self._buffer += [Measurement(name, float(value), now, step or 0) for name, value in metrics.items()]
            due = time.monotonic() - self._sent_at >= _SECONDS_BETWEEN_BATCHES or len(self._buffer) >= _BATCH
            if due and (self._sender is None or not self._sender.is_alive()):
                self._sent_at = time.monotonic()
                self._sender = threading.Thread(target=self.flush, name="metrics", daemon=True)
                self._sender.start()

    def log_file(self, path: Path, folder: str) -> None:
        """Copy a file into ``folder`` of the stage's artifacts; the end of the stage stores it in any case."""
        with self._sending:
            if time.monotonic() < self._silent_until:
                return
            try:
                self._client.log_artifact(self.run_id, str(path), folder)
            except _failures() as error:
                self._failed(error)

    def flush(self) -> None:
        """Send what is held back, and wait until that is done."""
        with self._sending:
            self._send_or_keep()

    def replay(self) -> int:
        """Send what the journal kept; raises when the store is still away."""
        return Journal(self.journal_dir).replay(self._send)

    @cached_property
    def _client(self) -> Any:
        return mlflow_client(self.uri)

    def _send_or_keep(self) -> None:
        with self._lock:
            self._sent_at = time.monotonic()
            measurements, self._buffer = self._buffer, []
        if not measurements:
            return
        if time.monotonic() >= self._silent_until:
            try:
                self._send(measurements)
                self._pause = _SECONDS_AFTER_FAILURE
                return
            except _failures() as error:
                self._failed(error)
        Journal(self.journal_dir).append(measurements)

    def _send(self, measurements: Sequence[Measurement]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(m.key, m.value, m.timestamp_ms, m.step) for m in measurements]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _BATCH])

    def _failed(self, error: Exception) -> None:
        self._silent_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _MOST_SECONDS_AFTER_FAILURE)
        _log.warning(
            "MLflow at %s does not take measurements (%s); they are kept and sent later",
            redacted(self.uri),
            redacted(first_line(error)),
        )


def _failures() -> tuple[type[Exception], ...]:
    """Return what an unreachable, overloaded or locked store raises."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, OSError)
