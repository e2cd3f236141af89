"""Decoding every image once before any training: what cannot be read is named, counted and left out."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reid_core.data.images import DAMAGE, decode
from reid_core.errors import UserError

MIN_SIDE = 8  # pixels; smaller pictures show nobody
MAX_UNREADABLE = 0.05  # of all images; more means that something is wrong with the copy


class Verdict(NamedTuple):
    """What decoding one image told.

    Attributes:
        width: In pixels, 0 when unreadable.
        height: In pixels, 0 when unreadable.
        problem: Why the image is left out, or empty.
    """

    width: int
    height: int
    problem: str


def verify_image(path: Path) -> Verdict:
    """Decode one image to its last byte."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return Verdict(0, 0, "its name is not valid UTF-8")
    try:
        if path.stat().st_size == 0:
            return Verdict(0, 0, "the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata; what matters is whether pixels come out
            width, height = decode(path).size
    except FileNotFoundError:
        return Verdict(0, 0, "the file does not exist")
    except DAMAGE as error:
        return Verdict(0, 0, f"it cannot be decoded ({_reason(error)})")
    if min(width, height) < MIN_SIDE:
        return Verdict(0, 0, f"it has only {width} x {height} pixels")
    return Verdict(width, height, "")


def refuse_many_unreadable(problems: Sequence[str], total: int, root: Path) -> None:
    """Raise when more than 5 % of the images have a problem; ``problems`` are lines ``path: why``."""
    if len(problems) > MAX_UNREADABLE * total:
        raise UserError(
            f"{len(problems):,} of {total:,} images in {root} cannot be read, more than "
            f"{MAX_UNREADABLE:.0%} (first: {'; '.join(problems[:3])}); repair or remove them"
        )


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return "no picture format that is known" if text.startswith("cannot identify") else text[:120]
