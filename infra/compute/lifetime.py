"""Processes that end with the one that started them, however it ended.

Imported by processes that need not load torch, so this module does not either.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import wait

from infra.compute.machine import bound_threads


def end_with_parent(on_end: Callable[[], None] | None = None) -> None:
    """Watch the parent of this spawned process, and end at once when it is gone.

    Without this, workers of a driver that was killed would compute on, unseen.

    Args:
        on_end: Called first, for example to remove a folder that the parent would have removed.
    """
    # Ctrl-C reaches every process of the terminal; the parent decides what becomes of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process started by multiprocessing has a parent to watch"

    def watch() -> None:
        wait([parent.sentinel])
        try:
            if on_end is not None:
                on_end()
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def start_process(threads: int) -> None:
    """Prepare a spawned process for the work of its parent.

    Args:
        threads: That its numerical libraries may use.
    """
    end_with_parent()
    bound_threads(threads)
