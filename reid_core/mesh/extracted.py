"""What a source makes of a few images: bodies and their guidance maps.

Letters: N images, V vertices, A angles, H x W pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reid_core.mesh.bodies import Bodies, no_bodies
from reid_core.mesh.body import load_body
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import ANGLES, guidance_maps

BODIES_A_CALL = 32  # a call of the rasteriser sees eight views of each


class Extracted(NamedTuple):
    """Bodies of N images and their maps.

    Attributes:
        bodies: N rows.
        maps: Guidance maps of all angles, zeros without a body, uint8 on the CPU, shape (N, 8, H, W).
    """

    bodies: Bodies
    maps: Tensor


def without_bodies(status: Sequence[str], size: tuple[int, int]) -> Extracted:
    """Return what is known of images without a body: why."""
    return Extracted(no_bodies(status), torch.zeros(len(status), len(ANGLES), *size, dtype=torch.uint8))


def render_bodies(bodies: Bodies, topology: str, device: torch.device, size: tuple[int, int]) -> Extracted:
    """Draw every body from eight sides.

    Args:
        bodies: Of N images.
        topology: Body mesh to draw.
        device: That draws.
        size: Height and width of the maps.

    Returns:
        The bodies and their maps.
    """
    maps = torch.zeros(len(bodies), len(ANGLES), *size, dtype=torch.uint8)
    if not bool(bodies.found.any()):
        return Extracted(bodies, maps)
    body = load_body(topology)
    for rows in torch.split(bodies.found.nonzero().flatten(), BODIES_A_CALL):
        vertices = body.vertices(bodies.phenotypes[rows], bodies.angles_deg[rows]).to(device)
        cameras = Cameras(*(field[rows].to(device) for field in bodies.cameras))
        maps[rows] = guidance_maps(vertices, body, cameras, size=size).cpu()
    return Extracted(bodies, maps)


def put_back(extracted: Extracted, known: Tensor, status: str) -> Extracted:
    """Spread what is known of some images over all of them.

    Args:
        extracted: Of M images.
        known: True at the M images among N that these are, shape (N,).
        status: Of the others.

    Returns:
        Of N images.
    """
    bodies, maps = extracted
    assert int(known.sum()) == len(bodies), (int(known.sum()), len(bodies))
    if bool(known.all()):
        return extracted
    all_bodies, all_maps = without_bodies([status] * len(known), (maps.shape[2], maps.shape[3]))
    words = iter(bodies.status)

    def spread(empty: Tensor, filled: Tensor) -> Tensor:
        return empty.clone().masked_scatter_(known.view(-1, *[1] * (empty.dim() - 1)).expand_as(empty), filled)

    masks = None if bodies.masks is None else spread(torch.zeros_like(all_maps[:, 0]), bodies.masks)
    return Extracted(
        Bodies(
            status=tuple(next(words) if kept else status for kept in known.tolist()),
            confidence=spread(all_bodies.confidence, bodies.confidence),
            phenotypes=spread(all_bodies.phenotypes, bodies.phenotypes),
            angles_deg=spread(all_bodies.angles_deg, bodies.angles_deg),
            cameras=Cameras(*(spread(*pair) for pair in zip(all_bodies.cameras, bodies.cameras, strict=True))),
            masks=masks,
            mask_iou=spread(all_bodies.mask_iou, bodies.mask_iou),
            reprojection=spread(all_bodies.reprojection, bodies.reprojection),
        ),
        spread(all_maps, maps),
    )
