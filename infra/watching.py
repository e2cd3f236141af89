"""Looking at something again and again while a block runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watching(look: Callable[[], None], *, seconds: float) -> Iterator[None]:
    """Call ``look`` from a thread while the block runs, and a last time when it has ended, however it ended.

    Args:
        look: What to do; not called by two threads at once.
        seconds: Between two looks.
    """
    stop = threading.Event()

    def poll() -> None:
        while not stop.wait(seconds):
            look()

    thread = threading.Thread(target=poll, name="watching", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()
