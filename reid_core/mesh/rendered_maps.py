"""Guidance maps that another program rendered, in folders named like those of the published code.

``render/`` holds the maps of the unturned bodies, ``render_45/`` to ``render_315/`` those of the turned ones, each file
named like its image, in any picture format.

Letters: N images, H x W pixels.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from reid_core.data.datasets.tree import look_through
from reid_core.data.images import DAMAGE, decode
from reid_core.errors import UserError
from reid_core.mesh.body import no_bodies
from reid_core.mesh.guidance import ANGLES, BODY_MINIMUM
from reid_core.mesh.sources import Extracted

MISSING_SHOWN = 3  # names of images without maps that are told
_NEAR_BACKGROUND = 8  # grey levels; compression leaves a little noise around a body


def find_maps(folder: Path, images: Sequence[Path]) -> dict[Path, tuple[Path, ...]]:
    """Find the maps of images.

    Args:
        folder: Holds one folder an angle.
        images: N files.

    Returns:
        The files of all eight angles, for the images that have every one of them.
    """
    folders = [folder / ("render" if angle == 0 else f"render_{angle}") for angle in ANGLES]
    absent = [path.name for path in folders if not path.is_dir()]
    if absent:
        raise UserError(
            f"{folder} should hold the maps of all eight angles, but {', '.join(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} missing; render these too, or use mesh.source=estimate"
        )
    by_angle = [_match(path, images) for path in folders]
    return {
        image: tuple(path for path in row if path is not None)
        for image, row in zip(images, zip(*by_angle, strict=True), strict=True)
        if None not in row
    }


def _match(folder: Path, images: Sequence[Path]) -> list[Path | None]:
    """Find the map of every image in the folder of one angle."""
    names = sorted(look_through(folder).pictures, key=lambda name: name.split("/"))
    files = [folder / name for name in names]
    found = match_names(names, images, where=str(folder)) if images else []
    return [None if index is None else files[index] for index in found]


@dataclass(frozen=True)
class RenderedMapsSource:
    """Knows the maps of images, and nothing of their bodies.

    Attributes:
        files: Eight files an image, in the order of the angles.
    """

    files: Mapping[Path, tuple[Path, ...]]

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Read the maps; an image without any has the status no_mesh, with a broken one unreadable."""
        maps = torch.zeros(len(images), len(ANGLES), *size, dtype=torch.uint8)
        status = []
        for index, image in enumerate(images):
            if image not in self.files:
                status.append("no_mesh")
                continue
            try:
                maps[index] = torch.from_numpy(np.stack([read_map(path, size) for path in self.files[image]]))
                status.append("ok")
            except DAMAGE:
                status.append("unreadable")
                maps[index] = 0
        bodies = no_bodies(status)
        return Extracted(replace(bodies, confidence=bodies.found.float()), maps)  # whoever rendered them was sure


def read_map(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a rendered body on a plain background.

    Args:
        path: Picture file; the background has the brightness that most pixels of its border have.
        size: Height and width wanted.

    Returns:
        0 on the background and ``BODY_MINIMUM`` to 255 on the body, as our own maps, uint8, shape (H, W).
    """
    gray = np.asarray(decode(path).convert("L"))
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    background = np.bincount(border, minlength=256).argmax()
    body = np.abs(gray.astype(np.int16) - int(background)) > _NEAR_BACKGROUND
    shade = np.where(body, np.maximum(gray, BODY_MINIMUM), 0).astype(np.uint8)
    if shade.shape == size:
        return shade
    height, width = size
    covered = np.asarray(Image.fromarray(body.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX))
    # The mean of the body's pixels alone, so that an edge is no darker than its body.
    light = np.asarray(Image.fromarray(shade).resize((width, height), Image.Resampling.BOX)).astype(np.float64)
    mean = light * 255 / np.maximum(covered, 1)
    return np.where(covered >= 128, mean.clip(BODY_MINIMUM, 255), 0).round().astype(np.uint8)


def match_names(names: Sequence[str], images: Sequence[Path], *, where: str) -> list[int | None]:
    """Find a data set's images again under the names that another program gave them.

    A name matches when it is the image's file name, whatever its suffix. Of several that match, the one that agrees in
    most of the folders above wins: ``query/a.png`` for ``.../query/a.jpg``.

    Args:
        names: File names or paths, relative or of another machine.
        images: Files to be found.
        where: Holder of the names, for the sentence of an error.

    Returns:
        Index into ``names`` of every image, None where no name matches.
    """
    known: dict[str, list[tuple[tuple[str, ...], int]]] = defaultdict(list)
    for index, name in enumerate(names):
        path = PurePosixPath(name.replace("\\", "/"))
        known[path.stem].append((path.parent.parts, index))
    return [_best(known.get(image.stem, []), image, where) for image in images]


def _best(candidates: Sequence[tuple[tuple[str, ...], int]], image: Path, where: str) -> int | None:
    """Return the index of the candidate (folders, index) that agrees in most of the image's folders."""
    if len(candidates) <= 1:
        return candidates[0][1] if candidates else None
    folders = image.parent.parts
    scores = [_common_tail(parts, folders) for parts, _ in candidates]
    best = max(scores)
    if scores.count(best) > 1:
        raise UserError(
            f"{where} should name every image once, but {scores.count(best)} of its names match {image}; "
            "write the folder of the image before the file name, as the data set has it"
        )
    return candidates[scores.index(best)][1]


def _common_tail(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the folders that two paths share at their ends."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count
