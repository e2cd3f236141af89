"""An MLflow server on PostgreSQL, both really started, for tests that restart them."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

_UNPRIVILEGED = "nobody"
_SECONDS = 90.0


def free_port() -> int:
    """Return a port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_postgres() -> Path:
    """Return the folder of PostgreSQL's programs; skips where there is none."""
    pytest.importorskip("psycopg2", reason="psycopg2 connects MLflow to PostgreSQL; install genvar[server]")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL here; on Debian: apt-get install postgresql")
    return found[-1]


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a database of its own on the loopback during the block; yields its address."""
    programs, port = find_postgres(), free_port()
    # Not below pytest's folder: that is closed to the unprivileged user again whenever another pytest starts.
    cluster = Path(tempfile.mkdtemp(prefix="genvar-postgres-"))
    become: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        become = ["setpriv", f"--reuid={_UNPRIVILEGED}", "--regid=nogroup", "--clear-groups"]
        shutil.chown(cluster, _UNPRIVILEGED)
    data = cluster / "data"
    create = [*become, str(programs / "initdb"), "-D", str(data), "-U", "mlflow", "--auth=trust", "--encoding=UTF8"]
    subprocess.run(create, check=True, capture_output=True, cwd=cluster)
    options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories= -p {port} -c fsync=off"
    control = [*become, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    log = str(cluster / "log")
    subprocess.run([*control, "-o", options, "-l", log, "start"], check=True, capture_output=True, cwd=cluster)
    try:
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=cluster)
        shutil.rmtree(cluster)


class MlflowServer:
    """An MLflow server that stores runs in a database and serves artifacts from a folder.

    Attributes:
        uri: For MLFLOW_TRACKING_URI.
    """

    def __init__(self, database: str, artifacts: Path) -> None:
        self._port = free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        address = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        where = ["--backend-store-uri", database, "--artifacts-destination", str(artifacts)]
        self._command = [sys.executable, "-m", "mlflow", "server", *address, *where]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        quiet = subprocess.DEVNULL
        # In a session of its own, so that its workers end with it.
        self._process = subprocess.Popen(
            self._command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True
        )
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            time.sleep(0.2)
        raise AssertionError("the MLflow server did not start")

    def kill(self) -> None:
        """End it at once, with everything that it is doing."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None
