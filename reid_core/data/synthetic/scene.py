"""Scenes that a camera looks at: procedural walls and floors, and things that stand before people."""

from functools import lru_cache

import numpy as np
from PIL import Image

from reid_core.data.synthetic.person import Array, Mask
from reid_core.seeds import derive_seed

SCENES_PER_CAMERA = 6
CANVAS = 3  # a scene is this many times as wide and high as a picture


@lru_cache(maxsize=64)
def scene(seed: int, camera_id: int, index: int, height: int, width: int) -> Array:
    """Draw one of a camera's scenes, from seed and numbers alone.

    Args:
        seed: Of the set of rendered people.
        camera_id: From 0.
        index: Of the scene among those of the camera, below ``SCENES_PER_CAMERA``.
        height: Of a picture, in pixels.
        width: Of a picture, in pixels.

    Returns:
        Light from 0 to 1, shape (CANVAS * height, CANVAS * width, 3).
    """
    random = np.random.default_rng(derive_seed(seed, "scene", camera_id, index))
    size = (CANVAS * height, CANVAS * width)
    rows = np.arange(size[0], dtype=np.float32)[:, None] / height
    columns = np.arange(size[1], dtype=np.float32)[None, :] / height
    # The floor meets the wall where feet and knees are in most crops, drawn at about the canvas's middle.
    horizon = 1.5 + random.uniform(-0.05, 0.4)
    wall = _surface(random, rows, columns)
    floor = _surface(random, (rows - horizon) * 3.0, columns + (rows - horizon) * random.uniform(-0.6, 0.6)) * 0.9
    picture = np.where((rows > horizon)[..., None], floor, wall)
    for _ in range(random.integers(1, 4)):
        _furnish(picture, random, rows, columns, horizon)
    picture *= 0.9 + 0.2 * clouds(random, size, cells=4)[..., None]
    return np.clip(picture, 0.0, 1.0).astype(np.float32)


def crop(picture: Array, height: int, width: int, random: np.random.Generator) -> Array:
    """Cut one background out of a scene, half of them mirrored: shape (height, width, 3)."""
    top = int(height * random.uniform(0.75, 1.15))
    left = int(random.integers(0, (CANVAS - 1) * width + 1))
    background = picture[top : top + height, left : left + width]
    return np.array(background[:, ::-1] if random.random() < 0.5 else background)


def clouds(random: np.random.Generator, size: tuple[int, int], *, cells: int) -> Array:
    """Draw smooth noise in [0, 1] with about ``cells`` blobs across, shape ``size``."""
    rows = max(2, round(cells * size[0] / size[1]))
    coarse = Image.fromarray(random.random((rows, max(2, cells)), dtype=np.float32), mode="F")
    return np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC), dtype=np.float32).clip(0.0, 1.0)


def occlude(picture: Array, random: np.random.Generator) -> None:
    """Put a pole, a low wall or a bush before the person, in place; shape (H, W, 3)."""
    height, width = picture.shape[:2]
    tint = random.uniform(0.08, 0.75) * random.uniform(0.8, 1.2, size=3)
    kind = random.integers(3)
    if kind == 0:  # a pole
        half = random.uniform(0.04, 0.10)
        middle = random.uniform(0.1, 0.9)
        left, right = max(0, int((middle - half) * width)), int((middle + half) * width) + 1
        across = np.linspace(0.7, 1.15, max(1, min(right, width) - left))[None, :, None]
        picture[:, left:right] = tint * across
    elif kind == 1:  # a low wall
        top = int(height * random.uniform(0.68, 0.86))
        picture[top:] = tint * (0.85 + 0.3 * clouds(random, (height - top, width), cells=8)[..., None])
        picture[top : top + max(1, height // 64)] = tint * 1.3
    else:  # a bush in one of the lower corners
        leaves = clouds(random, (height, width), cells=9)
        side = np.linspace(0, 1, width)[None, :] if random.random() < 0.5 else np.linspace(1, 0, width)[None, :]
        low = np.linspace(0, 1, height)[:, None]
        where = leaves * 0.5 + side * 0.55 + low * 0.5 > 1.05
        green = np.array([0.16, 0.30, 0.12]) * random.uniform(0.7, 1.5)
        picture[where] = (green * (0.5 + leaves[..., None]))[where]


def _surface(random: np.random.Generator, rows: Array, columns: Array) -> Array:
    """Draw a wall or floor of one of six materials, shape (H, W, 3)."""
    shape = np.broadcast_shapes(rows.shape, columns.shape)
    base = random.uniform(0.4, 0.65) * random.uniform(0.92, 1.08, size=3)
    other = np.clip(base * random.uniform(0.75, 1.2), 0.0, 1.0)
    unit = random.uniform(0.10, 0.28)
    kind = random.integers(6)
    if kind == 0:  # bricks
        line = np.floor(rows / (unit * 0.5))
        joint = ((rows / (unit * 0.5)) % 1.0 < 0.12) | (((columns / unit) + 0.5 * (line % 2)) % 1.0 < 0.06)
    elif kind == 1:  # tiles
        joint = ((rows / unit) % 1.0 < 0.06) | ((columns / unit) % 1.0 < 0.06)
    elif kind == 2:  # chequers
        joint = ((np.floor(rows / unit) + np.floor(columns / unit)) % 2) == 0
    elif kind == 3:  # panels
        joint = (columns / (unit * 1.5)) % 1.0 < 0.5
    elif kind == 4:  # slats
        joint = (rows / (unit * 0.6)) % 1.0 < 0.4
    else:  # plaster, asphalt
        joint = np.zeros(shape, dtype=np.bool_)
    rough = 0.85 + 0.3 * clouds(random, (shape[0], shape[1]), cells=int(random.integers(20, 70)))
    surface: Array = np.where(np.broadcast_to(joint, shape)[..., None], other, base) * rough[..., None]
    return surface


def _furnish(picture: Array, random: np.random.Generator, rows: Array, columns: Array, horizon: float) -> None:
    """Add a door, a window, a sign or a hedge to the wall, in place."""
    tint = random.uniform(0.15, 0.8) * random.uniform(0.8, 1.2, size=3)
    left, wide = random.uniform(0.0, 1.4), random.uniform(0.08, 0.4)
    bottom = horizon - random.choice([0.0, 0.0, 0.25, 0.5])
    top = bottom - random.uniform(0.12, 0.7)

    def inside(margin: float) -> Mask:
        inner: Mask = (rows > top + margin) & (rows < bottom - margin)
        return inner & (columns > left + margin) & (columns < left + wide - margin)

    area = inside(0.0)
    picture[area] = picture[area] * 0.15 + tint * 0.85
    picture[area & ~inside(0.015)] = tint * 0.5  # its frame
