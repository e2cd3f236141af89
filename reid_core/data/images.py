"""Pictures as files and as tensors: checking, decoding and resizing them, and keeping many decoded ones in one file.

Tensors of images are stored bytes or floats in [-1, 1]. Letters: N pictures, H x W pixels.
"""

import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from reid_core.errors import UserError

MIN_SIDE = 8  # pixels; smaller pictures show nobody
MAX_UNREADABLE = 0.05  # of all images; more means that something is wrong with the copy
_BLOCK = 256  # pictures in memory before they are written
_BITS = (8, 10, 12, 14, 16)  # of a grey pixel, as cameras deliver them in 16
_DARK = 64  # upper byte of 16 bits that a picture of 14 bits or fewer never reaches

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
        DAMAGE: The file is no whole picture, or its brightness cannot be told.
    """
    with Image.open(path, formats=FORMATS) as image:
        sixteen_bits = _has_sixteen_bits(image)  # before exif_transpose decodes it
        return as_rgb(ImageOps.exif_transpose(image), sixteen_bits=sixteen_bits)


def as_rgb(image: Image.Image, *, sixteen_bits: bool = False) -> Image.Image:
    """Convert a picture of any mode to RGB, where Pillow's conversion would lose what it shows.

    Pillow cuts 16 bits and floats off at 255, which leaves a white or a black picture, and drops transparency, which
    uncovers whatever colours lie below it. Here numbers are scaled, and what is transparent becomes white.

    Args:
        image: Picture.
        sixteen_bits: Whether colours of 16 bits were in the file, of which Pillow keeps the upper eight.

    Returns:
        RGB picture.

    Raises:
        ValueError: The range of its numbers cannot be told.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray((values * (255 / _white(values, image.mode))).round().astype(np.uint8)).convert("RGB")
    if sixteen_bits and (brightest := int(np.asarray(image.convert("RGB")).max(initial=0))) < _DARK:
        raise ValueError(
            f"its colours of 16 bits stay below {256 * (brightest + 1)}, as if fewer bits were used; convert it to 8"
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _white(values: np.ndarray, mode: str) -> float:
    """Return the number that stands for white: cameras fill 8 to 16 bits, floats reach 1 or the same numbers."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (np.isfinite([low, high]).all() and low >= 0 and high < 1 << 16):
        raise ValueError(f"its numbers run from {low:g} to {high:g}, wanted 0 to 1, or 8 to 16 bits; convert it to 8")
    if mode == "F" and high <= 1:
        return 1.0
    return float(next((1 << bits) - 1 for bits in _BITS if high <= (1 << bits) - 1 or bits == 16))


def _has_sixteen_bits(image: Image.Image) -> bool:
    """Tell of a picture that is not yet decoded whether its file holds 16 bits a colour."""
    arguments = [str(tile[3]) for tile in getattr(image, "tile", [])]
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in text for text in arguments)


class Verdict(NamedTuple):
    """Result of decoding one image.

    Attributes:
        width: In pixels, 0 when unreadable.
        height: In pixels, 0 when unreadable.
        problem: Why the image is left out, or empty.
    """

    width: int
    height: int
    problem: str


def verify_image(path: Path) -> Verdict:
    """Decode one image to its last byte and tell whether it is of use."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return Verdict(0, 0, "its name is not valid UTF-8")
    try:
        if path.stat().st_size == 0:
            return Verdict(0, 0, "the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata; pixels alone matter
            width, height = decode(path).size
    except FileNotFoundError:
        return Verdict(0, 0, "the file does not exist")
    except DAMAGE as error:
        reason = str(error).split("\n")[0][:120]
        reason = "no picture format that is known" if reason.startswith("cannot identify") else reason
        return Verdict(0, 0, f"it cannot be decoded ({reason})")
    if min(width, height) < MIN_SIDE:
        return Verdict(0, 0, f"it has only {width} x {height} pixels")
    return Verdict(width, height, "")


def refuse_many_unreadable(problems: Sequence[str], total: int, root: Path) -> None:
    """Raise a UserError when more than 5 % of ``total`` images have a problem; a problem reads ``path: why``."""
    if len(problems) > MAX_UNREADABLE * total:
        raise UserError(
            f"{len(problems):,} of {total:,} images in {root} cannot be read, more than "
            f"{MAX_UNREADABLE:.0%} (first: {'; '.join(problems[:3])}); repair or remove them"
        )


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

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(load, range(len(paths))))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def as_float(images: Tensor) -> Tensor:
    """Return stored bytes of any shape as floats in [-1, 1], the form that networks read."""
    assert images.dtype == torch.uint8, images.dtype
    return images.float() / 127.5 - 1.0


def as_uint8(images: Tensor) -> Tensor:
    """Return floats in [-1, 1] of any shape as bytes, rounded and clamped: the inverse of ``as_float``."""
    assert images.is_floating_point(), images.dtype
    return ((images.detach() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def write_decoded(
    file: Path, paths: Sequence[Path], indices: range, size: tuple[int, int], *, num_threads: int = 1
) -> None:
    """Decode some of N pictures into a file of all of them, one picture of 3 x H x W bytes after the other.

    Several processes may write other pictures to the same file at the same time.

    Args:
        file: Created where it is missing; bytes of other pictures stay.
        paths: All N picture files.
        indices: Pictures to write, without gaps.
        size: Height and width in pixels.
        num_threads: Pictures decoded at the same time.

    Raises:
        UserError: A picture cannot be read.
    """
    height, width = size
    file.touch()
    with file.open("r+b") as stream:
        for first in range(indices.start, indices.stop, _BLOCK):
            block = paths[first : min(first + _BLOCK, indices.stop)]
            stream.seek(first * 3 * height * width)
            stream.write(load_images(block, size, num_threads=num_threads).numpy().tobytes())
        stream.flush()
        os.fsync(stream.fileno())


def is_whole(file: Path, count: int, size: tuple[int, int]) -> bool:
    """Tell by its length whether a file holds ``count`` decoded pictures."""
    height, width = size
    return file.is_file() and file.stat().st_size == count * 3 * height * width


def map_decoded(file: Path, count: int, size: tuple[int, int]) -> Tensor:
    """Map a file of N decoded pictures into memory, which all processes of a machine share.

    Args:
        file: As ``write_decoded`` wrote it.
        count: N.
        size: Height and width in pixels.

    Returns:
        Stored bytes, shape (N, 3, H, W); changes to the tensor do not reach the file.
    """
    return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="c", shape=(count, 3, *size)))
