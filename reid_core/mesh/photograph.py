"""Opening a photograph for the search of a body: whatever the file holds, at a bounded size."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from reid_core.data.images import DAMAGE, FORMATS, as_rgb

LONGEST_SIDE = 1024  # pixels; the landmark network sees a few hundred
MOST_PIXELS = 64_000_000  # that are decoded: 200 MB; a crop of one person has some thousands


def open_photograph(path: Path) -> NDArray[np.uint8] | None:
    """Decode a picture.

    A JPEG that is larger than needed is decoded at a half, a quarter or an eighth of its size, which costs no memory.

    Args:
        path: Picture file.

    Returns:
        RGB, shape (h, w, 3), no side longer than ``LONGEST_SIDE``; None when the file is no whole picture or has more
        than ``MOST_PIXELS``.
    """
    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as image:
            warnings.simplefilter("ignore")  # remarks on metadata and on the number of pixels, which is bounded here
            image.draft("RGB", _bounded(image.size))
            if image.width * image.height > MOST_PIXELS:
                return None
            picture = as_rgb(ImageOps.exif_transpose(image))
    except (*DAMAGE, MemoryError):
        return None
    if max(picture.size) > LONGEST_SIDE:
        picture = picture.resize(_bounded(picture.size), Image.Resampling.BOX)
    return np.array(picture, dtype=np.uint8)


def _bounded(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
