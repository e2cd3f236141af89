import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from infra.compute import machine
from infra.compute.machine import available_cpus, available_gpus, bound_threads


def test_at_least_one_cpu_and_no_more_than_the_affinity() -> None:
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))


def test_a_container_quota_bounds_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_quota", lambda: 1)
    assert available_cpus() == 1


@pytest.mark.parametrize(("text", "cpus"), [("150000 100000", 2), ("100000 100000", 1), ("max 100000", 1 << 20)])
def test_the_quota_is_rounded_up(text: str, cpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert machine._quota() == cpus


def test_gpus_are_counted() -> None:
    assert available_gpus() == (torch.cuda.device_count() if torch.cuda.is_available() else 0)


def test_loaded_libraries_get_their_threads() -> None:
    before = torch.get_num_threads()
    try:
        bound_threads(1)
        assert torch.get_num_threads() == 1
        assert os.environ["OMP_NUM_THREADS"] == "1"
    finally:
        bound_threads(before)


def test_libraries_that_are_not_loaded_stay_so() -> None:
    code = (
        "import sys, infra.compute.processes, infra.compute.ray_pool, infra.compute.lifetime; "
        "from infra.compute.machine import bound_threads; bound_threads(2); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'faiss', 'numba', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_threads_of_torch_are_bounded_although_numba_starts_its_own() -> None:
    code = (
        "import numba, torch; from infra.compute.machine import bound_threads; "
        "bound_threads(1); print(torch.get_num_threads())"
    )
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
