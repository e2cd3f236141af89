import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.compute.lifetime import end_with_parent

_ROOT = Path(__file__).parents[3]

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
