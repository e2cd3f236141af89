"""Naming images by what is in them, so that a data set that was moved or copied is still the same one."""

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_THREADS = 8  # reading waits for the disk, and hashing lets other threads run
_BLOCK = 2048  # files from one call of ``progress`` to the next
_SECONDS_BETWEEN_CALLS = 10.0
MISSING = "missing"


def content_digests(
    paths: Sequence[Path], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """Digest every file.

    Args:
        paths: Files.
        progress: Told every ten seconds how many of how many are done.

    Returns:
        32 hexadecimal digits each, or ``MISSING`` for a file that is not there or may not be read.
    """
    digests: list[str] = []
    told = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(paths), _BLOCK):
            digests += threads.map(_digest, paths[start : start + _BLOCK])
            if time.monotonic() - told > _SECONDS_BETWEEN_CALLS:
                told = time.monotonic()
                progress(len(digests), len(paths))
    return digests


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:  # named by a list, or of another owner: the check of the images tells which and why
        return MISSING
