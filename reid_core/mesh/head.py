"""Does a head show its face or its hair? The evidence that tells a front view from a back view.

Two cues that the pose network does not use well. A face network, made for small faces, looks at the head; and hair:
above the ears a front view changes from hair to skin, a back view does not. Constants are a logistic regression of
front against back views on real and rendered pedestrians, see docs/mesh.md.

Letters: h x w pixels of a picture.
"""

import numpy as np
from skimage.color import rgb2lab

from reid_core.mesh.landmarks import Array, Look, Picture, Square, face_score
from reid_core.mesh.orientation import SHOULDERS

# The face network is surest when a face is a tenth of what it sees; two squares, as multiples of the person's height.
_SQUARES = (1.5, 2.0)
_REACH = 0.12  # of the person's height, how far a face may be from the head's middle
_FACE, _HAIR, _NEITHER = 5.3, 1.85, -7.05
_TYPICAL_CHANGE = 2.2
# Where to compare colours, from the top of the head (0) to the shoulders (1): hair in any case, and eyes or hair.
_CROWN, _EYES, _BAND = 0.25, 0.39, 0.05
_HALF_WIDTH = 0.03  # of the person's height


def front_evidence(picture: Picture, look: Look, *, num_threads: int) -> float:
    """Return the logarithm of the odds that the person is seen from the front (before any other knowledge).

    Args:
        picture: 8-bit RGB, shape (h, w, 3).
        look: Of this picture.
        num_threads: Of the face network.
    """
    x, y = look.points[:11].mean(axis=0)
    height = float(np.ptp(look.points[:, 1]))
    squares = [Square(float(x), float(y), max(height, 1.0) * factor) for factor in _SQUARES]
    scores = [
        face_score(picture, square, reach=_REACH * height / square.side, num_threads=num_threads) for square in squares
    ]
    return _FACE * float(np.mean(scores)) + _HAIR * colour_change(picture, look) + _NEITHER


def colour_change(picture: Picture, look: Look) -> float:
    """How much the head's colour changes between crown and eyes: log(2 + distance in CIELAB)."""
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
    covered = (person @ across) / across.sum() > 0.5
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
    """Person mask of a look at pixels of the picture: shape (rows, columns)."""
    square, cells = look.square, look.mask.shape[0]
    x = (columns - (square.center_x - square.side / 2)) / square.side * cells
    y = (rows - (square.center_y - square.side / 2)) / square.side * cells
    inside = ((y >= 0) & (y < cells))[:, None] & ((x >= 0) & (x < cells))[None]
    found = look.mask[np.clip(y, 0, cells - 1).astype(int)[:, None], np.clip(x, 0, cells - 1).astype(int)[None]]
    return np.where(inside, found, 0.0).astype(np.float64)
