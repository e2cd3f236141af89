import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.compute.lifetime import clean_up, end_with_parent, start_guard, users_of

_ROOT = Path(__file__).parents[3]
_SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]

# A parent that starts one process by multiprocessing, which writes its number and then waits for ever.
_PARENT = """
import multiprocessing, os, sys, time
from pathlib import Path
from infra.compute.lifetime import end_with_parent

def child(folder):
    end_with_parent(lambda: (folder / "ended").touch())
    (folder / "number.part").write_text(str(os.getpid()))
    (folder / "number.part").rename(folder / "number")
    time.sleep(600)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child, args=(Path(sys.argv[1]),))
    process.start()
    process.join()
"""


def test_a_process_without_a_parent_of_multiprocessing_is_refused() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(AssertionError, match="has a parent to watch"):
            end_with_parent()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_child_ends_when_its_parent_is_killed_and_tidies_up_before(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment)
    _wait_until((tmp_path / "number").exists)
    child = int((tmp_path / "number").read_text())
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait()
    _wait_until(lambda: not _runs(child))
    assert (tmp_path / "ended").exists()


def test_users_of_a_folder_are_ended_and_others_are_not(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "mine-not"
    mine.mkdir()
    other.mkdir()
    with (mine / "log").open("w") as log, (other / "log").open("w") as other_log:
        inside = subprocess.Popen(_SLEEP, stdout=log)
        spared = subprocess.Popen(_SLEEP, stdin=log)
        outside = subprocess.Popen(_SLEEP, stdout=other_log)
    try:
        assert sorted(users_of(mine)) == sorted([inside.pid, spared.pid])
        clean_up(mine, spare=spared.pid)
        assert inside.wait(10) == -9
        assert outside.poll() is None
        assert spared.poll() is None
        assert not mine.exists()
        assert (other / "log").is_file()
    finally:
        for process in (outside, spared):
            process.kill()
            process.wait()


def test_a_guard_acts_when_the_driver_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    code = (
        "import sys, time, pathlib; from infra.compute.lifetime import start_guard; "
        "print(start_guard(pathlib.Path(sys.argv[1])).pid, flush=True); time.sleep(600)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, cwd=_ROOT)
    assert driver.stdout is not None
    guard = psutil.Process(int(driver.stdout.readline()))
    with (folder / "log").open("w") as log:
        worker = subprocess.Popen(_SLEEP, stderr=log)
    driver.kill()
    driver.wait()
    assert worker.wait(10) == -9
    guard.wait(10)
    assert not folder.exists()


def test_a_guard_that_is_told_to_end_ends(tmp_path: Path) -> None:
    start = time.monotonic()
    guard = start_guard(tmp_path)
    guard.communicate()
    assert guard.returncode == 0
    assert time.monotonic() - start < 10


def _runs(number: int) -> bool:
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
