"""CPUs and GPUs of this machine, and the threads that a process may use of them."""

import os
import sys
from pathlib import Path

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def available_cpus() -> int:
    """Return the CPUs this process may use: its affinity, bounded by a container's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota()))


def available_gpus() -> int:
    """Return the number of CUDA devices that torch sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def bound_threads(count: int) -> None:
    """Give this process ``count`` threads in every numerical library, loaded already or later."""
    for name in _THREAD_VARIABLES:
        # numba fixes its pool at import and refuses a later value that differs.
        if name != "NUMBA_NUM_THREADS" or "numba" not in sys.modules:
            os.environ[name] = str(count)
    # A process that never loads torch, numba or FAISS (the cluster workers must not load torch) does not start to.
    if numba := sys.modules.get("numba"):
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    if faiss := sys.modules.get("faiss"):
        faiss.omp_set_num_threads(count)
    # Last: the first call of numba starts its own pool, which sets the threads of the OpenMP that torch uses too.
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def _quota() -> int:
    """Return the CPU quota of the control group, rounded up, or a large number."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 1 << 20
    return 1 << 20 if quota == "max" else -(-int(quota) // int(period))
