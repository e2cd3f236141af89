"""A few rendered people with what is true of them, and skeletons seen as a perfect pose network would see them."""

import io
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid_core.data.synthetic.photograph import Photograph, photograph_person
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.mesh.body import euler_matrices
from reid_core.mesh.camera import Cameras, view
from reid_core.mesh.fit import Evidence
from reid_core.mesh.landmarks import Picture
from reid_core.mesh.outline import CELLS, EDGE_POINTS, Outline
from reid_core.mesh.skeleton import LANDMARKS, load_skeleton

SETTINGS = SyntheticSettings(image_height=160, image_width=80, images_per_person=4, topology="notoes_collapse5pc")


class Person(NamedTuple):
    pictures: list[Picture]
    azimuths_deg: list[float]


@lru_cache(maxsize=4)
def person(number: int) -> Person:
    photographs: list[Photograph] = photograph_person(SETTINGS, number)
    pictures = [np.asarray(Image.open(io.BytesIO(photograph.jpeg)).convert("RGB")) for photograph in photographs]
    return Person(pictures, [photograph.camera[0] for photograph in photographs])


def walking(count: int, seed: int) -> Tensor:
    """Plausible angles of walkers, degrees, shape (B, 10, 3)."""
    random = torch.Generator().manual_seed(seed)
    phase = torch.rand(count, generator=random) * 6.28
    angles = torch.zeros(count, 10, 3)
    stride = 22.0 * phase.sin()
    angles[:, 0, 0], angles[:, 1, 0] = stride, -stride
    angles[:, 0, 1], angles[:, 1, 1] = 6.0, -6.0
    angles[:, 2, 0], angles[:, 3, 0] = 14.0 + 12.0 * phase.cos(), 14.0 - 12.0 * phase.cos()
    angles[:, 4, 0], angles[:, 5, 0] = -stride, stride
    angles[:, 4, 1], angles[:, 5, 1] = 40.0, -40.0
    return angles


def seen_exactly(angles_deg: Tensor, azimuth_deg: Tensor, *, elevation_deg: float = 8.0) -> Evidence:
    """What a perfect pose network would see of bodies that fill their pictures; no outline is known."""
    count = len(angles_deg)
    skeleton = load_skeleton(torch.device("cpu"))
    posed = skeleton.pose(euler_matrices(angles_deg), torch.full((count,), 0.5))
    shown = view(posed.landmarks, azimuth_deg, torch.full((count,), elevation_deg))
    scale = 0.5
    points = torch.stack([0.25 + scale * shown[..., 0], 0.5 - scale * shown[..., 1]], dim=-1)
    world = shown * torch.tensor([1.0, -1.0, 1.0])
    tall = points[..., 1].amax(dim=1) - points[..., 1].amin(dim=1)
    trust = torch.ones(count, len(LANDMARKS))
    return Evidence(points, trust, world, azimuth_deg, tall, no_outline(count))


def no_outline(count: int) -> Outline:
    return Outline(
        torch.zeros(count, CELLS, CELLS),
        torch.zeros(count, 2),
        torch.ones(count),
        torch.zeros(count, EDGE_POINTS, 2),
        torch.zeros(count, EDGE_POINTS, dtype=torch.bool),
    )


def rows(evidence: Evidence, index: slice) -> Evidence:
    """Some people of several."""
    outline = Outline(*(field[index] for field in evidence.outline))
    return Evidence(
        evidence.points[index],
        evidence.trust[index],
        evidence.world[index],
        evidence.azimuth_deg[index],
        evidence.tall[index],
        outline,
    )


def cameras_equal(first: Cameras, second: Cameras, *, atol: float) -> None:
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=1e-4)
