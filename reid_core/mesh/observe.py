"""Look at one picture as often as it needs, with the central person in view.

Letters: h x w pixels of the picture, K = 33 landmarks.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from reid_core.mesh.head import front_evidence
from reid_core.mesh.landmarks import Look, Picture, Square, find_person, look
from reid_core.mesh.orientation import HIPS

MOST_PIXELS = 512  # of height or width; networks see 256, and a picture may be huge
# Sides of the squares, as multiples of the picture for the first look, of the person for one that is aimed.
_FIRST, _MIRRORED = 1.15, 1.35
_AIMED = 1.25
SURE_PRESENCE = 0.5  # below it the person detector is asked: walls get less, people much more
_SMALL, _ASIDE = 0.55, 0.2  # a person of less of the picture, or so far from its middle, is looked at again


class Observation(NamedTuple):
    """What was seen in one picture.

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
        return sum(seen.presence for seen in self.looks) / 2


def observe(picture: Picture, *, num_threads: int) -> Observation | None:
    """Find the central person of a picture.

    Args:
        picture: 8-bit RGB of any size, shape (h, w, 3).
        num_threads: Of MediaPipe's graphs.

    Returns:
        What was seen, None when there seems to be nobody.
    """
    assert picture.ndim == 3, picture.shape
    assert picture.shape[2] == 3, picture.shape
    picture = shrunk(picture)
    height, width = picture.shape[:2]
    square = Square(width / 2, height / 2, _FIRST * max(height, width))
    first = look(picture, square, mirrored=False, num_threads=num_threads)
    if first is None or first.presence < SURE_PRESENCE:
        first = _search(picture, first, num_threads)
    elif _is_small_or_aside(first, height, width):
        aimed = look(picture, _around(first), mirrored=False, num_threads=num_threads)
        first = first if aimed is None or aimed.presence < first.presence else aimed
    if first is None:
        return None
    wider = first.square._replace(side=first.square.side * _MIRRORED / _FIRST)
    second = look(picture, wider, mirrored=True, num_threads=num_threads)
    looks = (first,) if second is None else (first, second)
    return Observation(looks, front_evidence(picture, first, num_threads=num_threads), height, width)


def _search(picture: Picture, first: Look | None, num_threads: int) -> Look | None:
    """Try harder: what the detector finds in the whole and in the middle, and the middle itself; the surest wins."""
    height, width = picture.shape[:2]
    whole, middle = (Square(width / 2, height / 2, side) for side in (max(height, width), min(height, width)))
    found = [find_person(picture, square, num_threads=num_threads) for square in dict.fromkeys((whole, middle))]
    squares = [square for square in (*found, middle._replace(side=_FIRST * middle.side)) if square is not None]
    tries = [look(picture, square, mirrored=False, num_threads=num_threads) for square in squares]
    return max((seen for seen in (first, *tries) if seen is not None), key=lambda seen: seen.presence, default=None)


def shrunk(picture: Picture) -> Picture:
    """The picture, not larger than ``MOST_PIXELS`` in any direction."""
    height, width = picture.shape[:2]
    factor = MOST_PIXELS / max(height, width)
    if factor >= 1.0:
        return picture
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def _is_small_or_aside(seen: Look, height: int, width: int) -> bool:
    tall = float(np.ptp(seen.points[:, 1]))
    x, y = seen.points[list(HIPS)].mean(axis=0)
    away = max(abs(x - width / 2), abs(y - height / 2))
    return tall < _SMALL * height or away > _ASIDE * max(height, width)


def _around(seen: Look) -> Square:
    low, high = seen.points.min(axis=0), seen.points.max(axis=0)
    x, y = (low + high) / 2
    return Square(float(x), float(y), max(1.0, _AIMED * float((high - low).max())))
