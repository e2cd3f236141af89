"""Observe the central person of a photograph: landmarks, mask, and whether the head shows its face or its hair.

The last tells a front view from a back view, by two cues that the pose network does not use well. A face network, made
for small faces, looks at the head; and hair: above the ears a front view changes from hair to skin, a back view does
not. Their weights are a logistic regression of front against back views on real and rendered pedestrians, see
docs/lab/mesh.md.

Letters: h x w pixels of the picture, K = 33 landmarks.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from skimage.color import rgb2lab

from reid_core.data.images import DAMAGE, FORMATS, as_rgb
from reid_core.mesh.landmarks import Array, Look, Picture, Square, face_score, find_person, look_at
from reid_core.mesh.orientation import HIPS, SHOULDERS

LONGEST_SIDE = 1024  # pixels of an opened photograph; the landmark network sees a few hundred
MOST_PIXELS = 64_000_000  # that are decoded: 200 MB; a crop of one person has some thousands
LONGEST_SEARCHED = 512  # of height or width; networks see 256, and a picture may be huge
# Sides of the squares, as multiples of the picture for the first look, of the person for one that is aimed.
_FIRST, _MIRRORED = 1.15, 1.35
_AIMED = 1.25
SURE_PRESENCE = 0.5  # below it the person detector is asked: walls get less, people much more
_SMALL, _ASIDE = 0.55, 0.2  # a person of less of the picture, or so far from its middle, is looked at again
# The face network is surest when a face is a tenth of what it sees; two squares, as multiples of the person's height.
_FACE_SQUARES = (1.5, 2.0)
_REACH = 0.12  # of the person's height, how far a face may be from the head's middle
# The logistic regression: weights of face score and change of colour, and the constant.
_FACE, _HAIR, _NEITHER = 5.3, 1.85, -7.05
_TYPICAL_CHANGE = 2.2
# Where to compare colours, from the top of the head (0) to the shoulders (1): hair in any case, and eyes or hair.
_CROWN, _EYES, _BAND = 0.25, 0.39, 0.05
_HALF_WIDTH = 0.03  # of the person's height


def open_photograph(path: Path) -> Picture | None:
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
    """Return width and height, shrunk so that neither exceeds ``LONGEST_SIDE``."""
    scale = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


class Observation(NamedTuple):
    """Looks at the central person of one picture.

    Attributes:
        looks: One or two; the second one saw the mirrored picture.
        front: Logarithm of the odds of a front view by the head alone.
        height: Of the picture in which the looks' pixels count.
        width: The same.
    """

    looks: tuple[Look, ...]
    front: float
    height: int
    width: int

    @property
    def presence(self) -> float:
        """Mean presence of both looks, 0 for one that saw nobody."""
        return sum(look.presence for look in self.looks) / 2


def observe(picture: Picture, *, num_threads: int) -> Observation | None:
    """Find the central person of a picture.

    Args:
        picture: 8-bit RGB of any size, shape (h, w, 3).
        num_threads: Of MediaPipe's graphs.

    Returns:
        The observation, None when there seems to be nobody.
    """
    assert picture.ndim == 3, picture.shape
    assert picture.shape[2] == 3, picture.shape
    picture = shrunk(picture)
    height, width = picture.shape[:2]
    square = Square(width / 2, height / 2, _FIRST * max(height, width))
    first = look_at(picture, square, mirrored=False, num_threads=num_threads)
    if first is None or first.presence < SURE_PRESENCE:
        first = _search(picture, first, num_threads)
    elif _is_small_or_aside(first, height, width):
        aimed = look_at(picture, _around(first), mirrored=False, num_threads=num_threads)
        first = first if aimed is None or aimed.presence < first.presence else aimed
    if first is None:
        return None
    wider = first.square._replace(side=first.square.side * _MIRRORED / _FIRST)
    second = look_at(picture, wider, mirrored=True, num_threads=num_threads)
    looks = (first,) if second is None else (first, second)
    return Observation(looks, front_evidence(picture, first, num_threads=num_threads), height, width)


def _search(picture: Picture, first: Look | None, num_threads: int) -> Look | None:
    """Look again at the detector's squares in the whole and in the middle, and at the middle; the surest wins."""
    height, width = picture.shape[:2]
    whole, middle = (Square(width / 2, height / 2, side) for side in (max(height, width), min(height, width)))
    detected = [find_person(picture, square, num_threads=num_threads) for square in dict.fromkeys((whole, middle))]
    squares = [square for square in (*detected, middle._replace(side=_FIRST * middle.side)) if square is not None]
    looks = [first, *(look_at(picture, square, mirrored=False, num_threads=num_threads) for square in squares)]
    return max((look for look in looks if look is not None), key=lambda look: look.presence, default=None)


def shrunk(picture: Picture) -> Picture:
    """Return the picture, not larger than ``LONGEST_SEARCHED`` in any direction."""
    height, width = picture.shape[:2]
    factor = LONGEST_SEARCHED / max(height, width)
    if factor >= 1.0:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def _is_small_or_aside(look: Look, height: int, width: int) -> bool:
    """True where a person fills too little of the picture, or stands too far from its middle, for one look."""
    tall = float(np.ptp(look.points[:, 1]))
    x, y = look.points[list(HIPS)].mean(axis=0)
    away = max(abs(x - width / 2), abs(y - height / 2))
    return tall < _SMALL * height or away > _ASIDE * max(height, width)


def _around(look: Look) -> Square:
    """Return the square around a person's landmarks that suits the pose network best."""
    low, high = look.points.min(axis=0), look.points.max(axis=0)
    x, y = (low + high) / 2
    return Square(float(x), float(y), max(1.0, _AIMED * float((high - low).max())))


def front_evidence(picture: Picture, look: Look, *, num_threads: int) -> float:
    """Return the logarithm of the odds that the person is seen from the front (before any other knowledge).

    Args:
        picture: 8-bit RGB, shape (h, w, 3).
        look: Of this picture.
        num_threads: Of the face network.
    """
    x, y = look.points[:11].mean(axis=0)
    height = float(np.ptp(look.points[:, 1]))
    squares = [Square(float(x), float(y), max(height, 1.0) * factor) for factor in _FACE_SQUARES]
    scores = [
        face_score(picture, square, reach=_REACH * height / square.side, num_threads=num_threads) for square in squares
    ]
    return _FACE * float(np.mean(scores)) + _HAIR * colour_change(picture, look) + _NEITHER


def colour_change(picture: Picture, look: Look) -> float:
    """Measure how the head's colour changes between crown and eyes: log(2 + distance in CIELAB)."""
    height, width = picture.shape[:2]
    head_x = float(look.points[:11, 0].mean())
    shoulders_y = float(look.points[list(SHOULDERS), 1].mean())
    tall = max(float(np.ptp(look.points[:, 1])), 1.0)
    first, last = max(0, int(shoulders_y - 0.35 * tall)), min(height, int(np.ceil(shoulders_y)) + 1)
    left, right = max(0, int(head_x - 0.12 * tall)), min(width, int(np.ceil(head_x + 0.12 * tall)) + 1)
    if last - first < 3 or right - left < 3:
        return _TYPICAL_CHANGE  # too small, or the head is outside: says nothing
    lab = rgb2lab(picture[first:last, left:right])
    columns, rows = np.arange(left, right) + 0.5, np.arange(first, last) + 0.5
    across = np.exp(-(((columns - head_x) / (_HALF_WIDTH * tall)) ** 2) / 2)
    person = _mask_at(look, columns, rows)
    covered = (person @ across) / across.sum() > 0.5  # rows in which the head is
    if covered.sum() < 3:
        return _TYPICAL_CHANGE
    top = rows[covered][0] - 0.5
    place = (rows - top) / max(shoulders_y - top, 1.0)
    colours = []
    for level in (_CROWN, _EYES):
        weight = person * across * np.exp(-(((place - level) / _BAND) ** 2) / 2)[:, None]
        colours.append(np.einsum("hw,hwc->c", weight, lab) / max(float(weight.sum()), 1e-6))
    return float(np.log(2.0 + np.linalg.norm(colours[0] - colours[1])))


def _mask_at(look: Look, columns: Array, rows: Array) -> Array:
    """Read a look's mask at pixels of the picture: shape (rows, columns)."""
    square, cells = look.square, look.mask.shape[0]
    x = (columns - (square.center_x - square.side / 2)) / square.side * cells
    y = (rows - (square.center_y - square.side / 2)) / square.side * cells
    inside = ((y >= 0) & (y < cells))[:, None] & ((x >= 0) & (x < cells))[None]
    values = look.mask[np.clip(y, 0, cells - 1).astype(int)[:, None], np.clip(x, 0, cells - 1).astype(int)[None]]
    return np.where(inside, values, 0.0).astype(np.float64)
