"""Decoding photographs to tensors, and the two forms in which images travel: stored bytes and signed floats.

Decoded pictures in one file: written once, by as many processes as there are, and mapped by all that read them.

N pictures of 3 x H x W bytes, one after the other; the processes of a machine share what the system has read of it.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from reid_core.errors import UserError

# Named, so that a file with a picture's name can never start one of Pillow's external interpreters (EPS, PDF).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")

# What Pillow's readers raise on damaged or hostile bytes.
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    OverflowError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode(path: Path) -> Image.Image:
    """Open and decode a whole picture as RGB, turned upright.

    Args:
        path: Picture file.

    Returns:
        Decoded picture.

    Raises:
        DAMAGE: The file is no whole picture.
    """
    with Image.open(path, formats=FORMATS) as image:
        return as_rgb(ImageOps.exif_transpose(image))


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture of any mode to RGB, where Pillow's conversion would lose what it shows.

    Pillow cuts 16 bits off at 255, which leaves a white picture, and drops transparency, which uncovers whatever
    colours lie below it. Here 16 bits are scaled, and what is transparent becomes white.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        scale = 257.0 if image.mode != "I" or values.max(initial=0) > 255 else 1.0
        return Image.fromarray((values / scale).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def load_images(paths: Sequence[Path], size: tuple[int, int], *, num_threads: int = 1) -> Tensor:
    """Decode pictures and resize them (bicubic) to one size.

    Args:
        paths: Picture files, N of them.
        size: Height and width of the result in pixels.
        num_threads: Pictures decoded at the same time.

    Returns:
        RGB bytes, shape (N, 3, H, W).
    """
    height, width = size
    images = np.empty((len(paths), height, width, 3), dtype=np.uint8)

    def load(index: int) -> None:
        try:
            image = decode(paths[index])
        except DAMAGE as error:
            raise UserError(
                f"{paths[index]} was a readable picture when the data stage checked it and is not now ({error}); "
                "restore it or run the data stage again"
            ) from error
        images[index] = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))

    if num_threads > 1:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(load, range(len(paths))))
    else:
        for index in range(len(paths)):
            load(index)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def as_float(images: Tensor) -> Tensor:
    """Return stored bytes of any shape as floats in [-1, 1], the form that networks read."""
    assert images.dtype == torch.uint8, images.dtype
    return images.float() / 127.5 - 1.0


def as_uint8(images: Tensor) -> Tensor:
    """Return floats in [-1, 1] of any shape as bytes, rounded and clamped: the inverse of ``as_float``."""
    assert images.is_floating_point(), images.dtype
    return ((images.detach() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


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
