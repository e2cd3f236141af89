"""Several processes that log metrics at once: what is lost, and what a logged step costs its training.

    .venv/bin/python benchmarks/tracking.py --seconds 60 --processes 4

To the SQLite file of a home, and to an MLflow server on this machine that is stopped in the middle and started again.
Each process logs ten numbers, ten times a second, as a training does at its most talkative.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.home import Home
from infra.tracking.address import wait_for_store
from infra.tracking.mlflow import MlflowTracker
from infra.tracking.store import RunStore

NUMBERS_A_STEP = 10
STEPS_A_SECOND = 10
# A joint step of the tiny preset, on one core; see docs/lab/training.md.
STEP_SECONDS = 0.27


def write(
    uri: str, run_id: str, journal: Path, seconds: float, results: "multiprocessing.Queue[list[float]]", running: Any
) -> None:
    """Log steps for a while, and hand back how long each call took; sets ``running`` when the connection stands."""
    tracker = MlflowTracker(uri, run_id, journal)
    tracker.log_metrics({"connected": 1.0}, 0)
    tracker.flush()  # imports MLflow and sends: before the timer starts
    running.set()
    durations = []
    end = time.monotonic() + seconds
    step = 0
    while time.monotonic() < end:
        start = time.perf_counter()
        tracker.log_metrics({f"number/{index}": float(step) for index in range(NUMBERS_A_STEP)}, step)
        durations.append(time.perf_counter() - start)
        step += 1
        time.sleep(max(0.0, 1 / STEPS_A_SECOND - durations[-1]))
    tracker.flush()
    results.put(durations)


@contextlib.contextmanager
def server(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run an MLflow server on the loopback while the block runs."""
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    where = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen([*command, *where], env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        if not wait_for_store(f"http://127.0.0.1:{port}", 120):
            raise RuntimeError(f"the server did not start; see {folder}/server.log")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait()


def measure(
    uri: str, folder: Path, *, processes: int, seconds: float, port: int | None, running: Any
) -> dict[str, Any]:
    """Let processes log at once, count what arrived, and say what a step cost."""
    store = RunStore(Home(folder / "home"), uri, "benchmark")
    run_ids = [store.start(f"writer {index}", params={}, tags={}, parent=None) for index in range(processes)]
    journals = [folder / f"journal-{index}" for index in range(processes)]
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[float]] = context.Queue()
    writers = [
        context.Process(target=write, args=(uri, run_id, journal, seconds, results, running))
        for run_id, journal in zip(run_ids, journals, strict=True)
    ]
    for writer in writers:
        writer.start()
    durations = [results.get() for _ in writers]
    for writer in writers:
        writer.join()
    if port is not None:
        wait_for_store(uri, 120)
    replayed = sum(MlflowTracker(uri, run, journal).replay() for run, journal in zip(run_ids, journals, strict=True))
    arrived = sum(
        len(store._client.get_metric_history(run_id, f"number/{index}"))
        for run_id in run_ids
        for index in range(NUMBERS_A_STEP)
    )
    calls = sorted(duration for one in durations for duration in one)
    return {
        "logged": NUMBERS_A_STEP * len(calls),
        "arrived": arrived,
        "of them replayed from the journal": replayed,
        "mean ms a step": round(1e3 * statistics.mean(calls), 3),
        "99 % of steps below ms": round(1e3 * calls[int(0.99 * len(calls))], 3),
        "share of a training step": round(statistics.mean(calls) / STEP_SECONDS, 5),
    }


def restart(folder: Path, port: int, seconds: float, running: Any) -> None:
    """Serve, go away a third of ``seconds`` after the first arrival, and serve again until this process is ended."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())  # so that the server ends too
    with server(folder, port):
        running.wait()
        time.sleep(seconds / 3)
    time.sleep(seconds / 6)
    with server(folder, port):
        time.sleep(3600)


def main() -> None:
    """Measure all three stores, and print a summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=4)
    arguments = parser.parse_args()
    results: dict[str, Any] = {"processes": arguments.processes, "seconds": arguments.seconds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "sqlite"
        folder.mkdir()
        uri = f"sqlite:///{folder}/mlflow.db"
        context = multiprocessing.get_context("spawn")
        results["sqlite"] = measure(
            uri, folder, processes=arguments.processes, seconds=arguments.seconds, port=None, running=context.Event()
        )
        for kind in ("server", "server, stopped in the middle"):
            folder = Path(name) / kind.replace(", ", "-").replace(" ", "-")
            folder.mkdir()
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            seconds = arguments.seconds if "stopped" in kind else 1e6
            running = context.Event()
            serving = context.Process(target=restart, args=(folder, port, seconds, running))
            serving.start()
            try:
                wait_for_store(f"http://127.0.0.1:{port}", 120)
                results[kind] = measure(
                    f"http://127.0.0.1:{port}",
                    folder,
                    processes=arguments.processes,
                    seconds=arguments.seconds,
                    port=port,
                    running=running,
                )
            finally:
                serving.terminate()
                serving.join()
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
