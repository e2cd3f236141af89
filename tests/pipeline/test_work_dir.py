import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from pipeline.work_dir import WorkDir, locked, write_marker

_HOLDER = """
import sys, time
from pathlib import Path
from pipeline.work_dir import locked
with locked(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_lets_go_and_is_named_to_those_who_wait(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _HOLDER, str(folder)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    told: list[str] = []
    threading.Timer(0.5, holder.kill).start()
    start = time.monotonic()
    with locked(folder, told.append):
        assert time.monotonic() - start > 0.4
    holder.wait()
    assert len(told) == 1
    assert told[0].startswith(f"process {holder.pid} on ")


def test_a_work_dir_remembers_its_run_until_it_is_cleared(tmp_path: Path) -> None:
    work_dir = WorkDir(tmp_path / "work" / "joint-abc")
    assert work_dir.run_id is None
    work_dir.open()
    work_dir.remember_run("r1")
    assert WorkDir(work_dir.folder).run_id == "r1"
    work_dir.clear()
    assert work_dir.run_id is None
    work_dir.clear()


def test_a_marker_is_whole(tmp_path: Path) -> None:
    write_marker(tmp_path / "stage.json", {"stage": "joint"})
    assert json.loads((tmp_path / "stage.json").read_text()) == {"stage": "joint"}
    assert [path.name for path in tmp_path.iterdir()] == ["stage.json"]
