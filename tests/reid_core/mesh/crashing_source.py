"""A source of bodies that ends its process, for tests of what survives it."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_core.mesh.sources import Extracted, without_bodies


@dataclass(frozen=True)
class CrashingSource:
    """Finds nobody, and dies of the image that is called crash."""

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        if any(image.stem == "crash" for image in images):
            os.kill(os.getpid(), signal.SIGKILL)
        return without_bodies(["no_person"] * len(images), size)
