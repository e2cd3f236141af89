"""Sources of bodies that end their process, for tests of what survives them."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_core.mesh.sources import Extracted, without_bodies


@dataclass(frozen=True)
class Deadly:
    """Finds nobody, and dies of the image that is called killer."""

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        if any(image.stem == "killer" for image in images):
            os.kill(os.getpid(), signal.SIGKILL)
        return without_bodies(["no_person"] * len(images), size)
