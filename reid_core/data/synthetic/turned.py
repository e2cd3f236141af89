"""Rendered people from other sides: photographs as they would be had their person been turned.

The truth that generated rotations are measured against. Person, pose, clothes, camera, light, scene and exposure are
those of the photograph; only the body is turned, and framed as its guidance maps are. Sensor noise, compression and
whatever stood in the way are left out, because nobody can foresee them.

Letters: P pictures of one person, A angles, H x W pixels of a photograph.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from reid_core.data.synthetic.camera import develop
from reid_core.data.synthetic.photograph import compose, draw_sitting, paint_figures
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import turned_views


class TurnedPictures(NamedTuple):
    """True pictures of a turned person.

    Attributes:
        pictures: RGB bytes, shape (P, A, H, W, 3).
        coverage: Share of each pixel that is the person, 0 to 1, shape (P, A, H, W).
    """

    pictures: NDArray[np.uint8]
    coverage: NDArray[np.float32]


def turned_pictures(
    settings: SyntheticSettings, person_id: int, indices: Sequence[int], angles_deg: Sequence[int]
) -> TurnedPictures:
    """Render photographs of one person again, with the person turned.

    Args:
        settings: Set that the photographs belong to.
        person_id: From 1.
        indices: Numbers of P pictures of the person, from 0 (``Photograph.index``).
        angles_deg: A turns about the vertical axis, as for ``guidance_maps``.

    Returns:
        The true pictures; at 0 degrees the photograph itself, undisturbed.
    """
    sitting = draw_sitting(settings, person_id)
    assert all(0 <= index < len(sitting.cameras) for index in indices), (indices, len(sitting.cameras))
    chosen = torch.tensor(indices, dtype=torch.long)
    vertices, photographed = sitting.vertices[chosen], Cameras(*(field[chosen] for field in sitting.framed))
    framed, _ = turned_views(vertices, photographed, torch.tensor(angles_deg, dtype=torch.float32))
    owners = [index for index in indices for _ in angles_deg]
    cameras = [sitting.cameras[index] for index in owners]
    figures, coverage = paint_figures(
        sitting, vertices.repeat_interleave(len(angles_deg), dim=0), framed, cameras, settings
    )
    pictures = []
    for view, (index, camera) in enumerate(zip(owners, cameras, strict=True)):
        random = copy.deepcopy(sitting.randoms[index])  # every side is the same moment
        light = compose(
            figures[view], coverage[view], settings, sitting.camera_ids[index], camera, random, occluders=False
        )
        pictures.append(np.asarray(develop(light, replace(camera, noise=0.0), random)))
    shape = (len(indices), len(angles_deg), settings.image_height, settings.image_width)
    return TurnedPictures(np.stack(pictures).reshape(*shape, 3), coverage.reshape(shape).astype(np.float32))
