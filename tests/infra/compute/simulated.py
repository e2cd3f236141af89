"""Several Ray nodes on this machine, real raylets, for tests that lose and add nodes."""

import contextlib
import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import psutil
import pytest

from infra.compute.lifetime import clean_up

ROOT = Path(__file__).parents[3]
_SECONDS = 180.0


class SimulatedCluster:
    """A cluster that runs in another process.

    Attributes:
        address: For RAY_ADDRESS.
        environment: In which a driver can join.
    """

    def __init__(self, folder: Path, cpus: Sequence[int]) -> None:
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
        self.environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.infra.compute.cluster_host", str(folder), *map(str, cpus)]
        errors = self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the cluster
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        self._raylets: list[int] = []
        self.address = self._hear()
        self.environment["RAY_ADDRESS"] = self.address

    def add(self, cpus: int) -> int:
        """Add a node; returns its number."""
        self._say(f"add {cpus}")
        return len(self._raylets) - 1

    def add_blind(self, folder: Path, log: IO[str]) -> "subprocess.Popen[str]":
        """Add a node with one CPU that sees another, empty folder in the place of this one; skips where none can be.

        It is not numbered; it ends with the cluster.
        """
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
        mount = f"mount -t tmpfs tmpfs {shlex.quote(str(folder))}"
        if subprocess.run([*unshare, "sh", "-c", mount], capture_output=True, check=False).returncode:
            pytest.skip("no mount of its own can be given to a process here; run as root, or allow user namespaces")
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self.address}", "--num-cpus=1"]
        start += ["--block", f"--object-store-memory={200 * 2**20}", "--disable-usage-stats"]
        return subprocess.Popen(
            [*unshare, "sh", "-c", f"{mount} && exec {shlex.join(start)}"],
            cwd=ROOT,
            env=self.environment,
            stdout=log,
            stderr=log,
            text=True,
        )

    def remove(self, node: int) -> None:
        """Kill a node at once, as a power cut does."""
        self._say(f"remove {node}")

    def work_on(self, node: int) -> list[str]:
        """Return the titles of the processes that work on a node, such as ``ray::call_shard``."""
        titles: list[str] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._raylets[node]).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, IndexError):
                    titles.append(child.cmdline()[0])
        return [title for title in titles if title.startswith("ray::") and title != "ray::IDLE"]

    def wait_for_work(self, title: str, nodes: Sequence[int], seconds: float = _SECONDS) -> int:
        """Return the first of the nodes on which a process with ``title`` in its name works."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for node in nodes:
                if any(title in found for found in self.work_on(node)):
                    return node
            time.sleep(0.05)
        raise AssertionError(f"no node worked on {title} within {seconds} s: {[self.work_on(n) for n in nodes]}")

    def close(self) -> None:
        """End all nodes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        self._hear()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"address"'):
                told = json.loads(line)
                self._raylets = self._raylets + told["raylets"][len(self._raylets) :]
                return str(told["address"])
        self._errors.seek(0)
        raise AssertionError(f"the simulated cluster ended: {self._errors.read()[-3000:]}")


@contextlib.contextmanager
def simulated_cluster(cpus: Sequence[int]) -> Iterator[SimulatedCluster]:
    """Run nodes with so many CPUs each, the head first, during the block."""
    folder = Path(tempfile.mkdtemp(prefix="gv-", dir="/tmp"))  # the paths of sockets must be short
    try:
        cluster = SimulatedCluster(folder, cpus)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        clean_up(folder, os.getpid())
