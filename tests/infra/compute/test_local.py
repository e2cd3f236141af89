import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from infra.compute.local import LocalCompute, LocalWorkers
from infra.tracking.protocol import SilentTracker
from reid_core.errors import UserError
from tests.infra.compute import loops, toys

_DRIVER = """
if __name__ == "__main__":
    import time
    from infra.compute.local import LocalCompute
    from tests.infra.compute import toys
    compute = LocalCompute(num_cpus=2)
    workers = compute.start_workers(toys.Counter, 2)
    print(workers.pool.folder, *workers.map("process", [(), (), (), ()]), flush=True)
    time.sleep(600)
"""


def _train(folder: Path, *, deterministic: bool = False) -> str:
    LocalCompute(num_cpus=1, deterministic=deterministic).train(
        loops.walk,
        loops.Walk(folder / "result"),
        num_ranks=1,
        checkpoint_dir=folder / "checkpoints",
        tracker=SilentTracker(),
        description="walking",
        num_images=32,
    )
    return (folder / "result").read_text()


def test_a_training_in_this_process_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # x -> 1.5 x + 28 + epoch from 0 gives 28, 71, 136.5, 235.75.
    assert _train(tmp_path) == "235.75 from epoch 0"
    assert "walking: 32/32 images" in capsys.readouterr().err


def test_a_second_call_continues_from_the_checkpoint_and_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(tmp_path)
    capsys.readouterr()
    assert _train(tmp_path) == "235.75 from epoch 4"
    assert "walking: 32/32 images" in capsys.readouterr().err


def test_the_deterministic_mode_ends_with_the_training(tmp_path: Path) -> None:
    _train(tmp_path, deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()


def test_more_ranks_than_gpus_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="num_ranks=2: each rank wants a GPU, but there are 1"):
        LocalCompute(num_gpus=1).train(
            loops.walk,
            loops.Walk(tmp_path / "result"),
            num_ranks=2,
            checkpoint_dir=tmp_path,
            tracker=SilentTracker(),
            description="walking",
            num_images=1,
        )


def test_one_slot_runs_in_this_process() -> None:
    [(_, process)] = LocalCompute(num_cpus=1).map_shards(_here, [0], description="here")
    assert process == os.getpid()


def _here(number: int) -> tuple[int, int]:
    return number, os.getpid()


def test_workers_that_crossed_a_pickle_start_processes_of_their_own() -> None:
    workers = LocalWorkers(toys.Counter, 1, threads=1)
    copy = pickle.loads(pickle.dumps(workers))
    assert copy.map("process", [()]) != workers.map("process", [()])
    assert copy.map("total", [(2.0,)], shared=np.ones(3, dtype=np.float32)) == [6.0]
    assert not list(copy.pool.folder.iterdir())  # the shared array is gone
    workers.stop()
    copy.stop()


@pytest.mark.slow
def test_ranks_that_always_die_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"died 3 times, the last by SIGKILL.*num_ranks of the stage"):
        LocalCompute(num_cpus=2).train(
            loops.die,
            None,
            num_ranks=2,
            checkpoint_dir=tmp_path,
            tracker=SilentTracker(),
            description="dying",
            num_images=1,
        )


def test_nothing_is_left_when_the_driver_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(_DRIVER)
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)}
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert driver.stdout is not None
    folder, *processes = driver.stdout.readline().split()
    assert all(psutil.pid_exists(int(process)) for process in processes)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    end = time.monotonic() + 10
    while any(_runs(int(process)) for process in processes) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(_runs(int(process)) for process in processes)
    assert not Path(folder).exists()


def _runs(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
