"""Rows of an array divided among threads, for compiled loops that release the interpreter's lock.

Plain threads and not numba's own: those would be a further pool beside torch's and FAISS's, or a further OpenMP.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def in_threads(
    work: Callable[..., T], num_rows: int, num_threads: int, *arguments: object, num_tasks: int | None = None
) -> list[T]:
    """Divide rows among threads.

    Args:
        work: Called with the first row of a task, one past its last row, and ``arguments``.
        num_rows: Rows of the array.
        num_threads: Threads that work at the same time.
        *arguments: The same for every task.
        num_tasks: Parts of about the same size; one a thread when None. More even out rows of unequal work.

    Returns:
        Results of all tasks, in the order of the rows.
    """
    num_tasks = max(1, min(num_tasks or num_threads, num_rows))
    bounds = np.linspace(0, num_rows, num_tasks + 1).astype(int).tolist()
    if num_threads == 1 or num_tasks == 1:
        return [work(start, stop, *arguments) for start, stop in pairwise(bounds)]
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(lambda start, stop: work(start, stop, *arguments), bounds[:-1], bounds[1:]))
