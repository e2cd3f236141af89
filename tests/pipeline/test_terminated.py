"""SIGTERM to a command while Ray starts and while it trains: 143, nothing left running, the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_ROOT = Path(__file__).parents[2]
_SETTINGS = {
    "data": {"synthetic": {"num_train_people": 6, "num_test_people": 3, "images_per_person": 6}},
    "mesh": {"source": "none"},
    "identity": {"num_epochs": 12, "iterations_per_epoch": 2, "monitor_every": 100},
}
_SECONDS = 300.0


def test_a_training_that_is_terminated_ends_with_143_and_goes_on(tmp_path: Path) -> None:
    home, settings = tmp_path / "home", tmp_path / "settings.json"
    settings.write_text(json.dumps(_SETTINGS))
    command = [sys.executable, "-m", "pipeline.cli", "pipeline", "--config", str(settings), "--home", str(home)]
    command += ["--num-cpus", "1", "--until", "identity"]

    def whole_checkpoints() -> set[Path]:
        return set((home / "work").glob("identity-*/scratch/**/whole-*"))

    # While Ray starts: its first processes are there, the stage has begun.
    words = _terminated(command, tmp_path / "starting", lambda told, process: bool(_children(process)))
    assert "Traceback" not in words
    # While it trains: a checkpoint is there.
    words = _terminated(command, tmp_path / "training", lambda told, process: bool(whole_checkpoints()))
    assert "genvar: terminated; the same command continues where this one stopped" in words
    done = subprocess.run(command, cwd=_ROOT, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "identity: continuing where an earlier command stopped" in done.stderr
    epochs = [json.loads(line)["epoch"] for line in next(home.rglob("artifacts/**/history.jsonl")).open()]
    assert epochs == list(range(12))


def _terminated(command: list[str], log: Path, is_time: Callable[[str, psutil.Process], bool]) -> str:
    """Send SIGTERM when it is time; returns what the command said."""
    with log.open("w") as file:
        driver = subprocess.Popen(command, cwd=_ROOT, env=_environment(), stdout=file, stderr=file)
        process, end = psutil.Process(driver.pid), time.monotonic() + _SECONDS
        while not is_time(log.read_text(), process):
            assert driver.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.05)
        started = process.children(recursive=True)
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(60) == 143, log.read_text()[-3000:]
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    return log.read_text()


def _children(driver: psutil.Process) -> list[psutil.Process]:
    """Return the servers of Ray among the processes that the command has started."""
    found = []
    for child in driver.children(recursive=True):
        try:
            found += [child] if "gcs_server" in child.name() or "raylet" in child.name() else []
        except psutil.NoSuchProcess:
            continue
    return found


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MLFLOW_"))}
