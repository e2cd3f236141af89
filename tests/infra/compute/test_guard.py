import subprocess
import sys
import time
from pathlib import Path

import psutil

from infra.compute.guard import clean_up, start_guard, users_of

_SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


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
        "import sys, time, pathlib; from infra.compute.guard import start_guard; "
        "print(start_guard(pathlib.Path(sys.argv[1])).pid, flush=True); time.sleep(600)"
    )
    root = Path(__file__).parents[3]
    driver = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, cwd=root)
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
