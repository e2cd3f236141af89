"""Decoded pictures in one file: written once, by as many processes as there are, and mapped by all that read them.

N pictures of 3 x H x W bytes, one after the other; the processes of a machine share what the system has read of it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reid_core.data.images import load_images

_BLOCK = 256  # pictures in memory before they are written


def write_decoded(
    file: Path, paths: Sequence[Path], rows: range, size: tuple[int, int], *, num_threads: int = 1
) -> None:
    """Decode some of N pictures and write them to their places, which others may do for the rest at the same time.

    Args:
        file: Made where it is missing; what is in other places stays.
        paths: All N picture files.
        rows: Which of them, without gaps.
        size: Height and width in pixels.
        num_threads: Pictures decoded at the same time.

    Raises:
        UserError: A picture cannot be read.
    """
    height, width = size
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        for first in range(rows.start, rows.stop, _BLOCK):
            block = paths[first : min(first + _BLOCK, rows.stop)]
            content = memoryview(load_images(block, size, num_threads=num_threads).numpy().tobytes())
            place = first * 3 * height * width
            while content:
                written = os.pwrite(descriptor, content, place)
                content, place = content[written:], place + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_whole(file: Path, count: int, size: tuple[int, int]) -> bool:
    """Tell whether a file holds so many pictures, by its length."""
    height, width = size
    return file.is_file() and file.stat().st_size == count * 3 * height * width


def map_decoded(file: Path, count: int, size: tuple[int, int]) -> Tensor:
    """Map a file of ``count`` pictures: uint8, shape (N, 3, H, W); what is written to it does not reach the file."""
    return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="c", shape=(count, 3, *size)))
