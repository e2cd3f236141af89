"""Small data sets on disk for the tests of the stages."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_people(root: Path, *, num_train: int = 6, num_test: int = 4, per_camera: int = 2) -> Path:
    """Write people of one colour each, seen by two cameras, in the layout of Market-1501."""
    rng = np.random.default_rng(0)
    for person in range(1, num_train + num_test + 1):
        colour = rng.integers(0, 256, 3)
        for camera in (1, 2):
            for index in range(per_camera):
                is_train = person <= num_train
                folder = "bounding_box_train" if is_train else ("query" if index == 0 else "bounding_box_test")
                pixels = (colour + rng.normal(0, 20, (64, 32, 3))).clip(0, 255).astype(np.uint8)
                (root / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / folder / f"{person:04d}_c{camera}s1_{index:06d}_00.jpg")
    return root


def write_crops(root: Path, num_images: int = 12) -> Path:
    """Write plain pictures whose names say nothing."""
    rng = np.random.default_rng(1)
    root.mkdir(parents=True, exist_ok=True)
    for index in range(num_images):
        Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(root / f"crop {index}.jpg")
    return root
