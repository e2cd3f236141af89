"""Guidance maps: the body of an image, rendered from the image's own camera and from seven turns of it.

Letters: B images, V vertices, A angles.
"""

from typing import Protocol

import torch
from torch import Tensor

from reid_core.mesh.camera import Cameras, keep_inside, project, view
from reid_core.mesh.render import interpolate, rasterise, vertex_normals

ANGLES = (0, 45, 90, 135, 180, 225, 270, 315)
BODY_MINIMUM = 64  # the darkest body pixel; the background is 0, so that the silhouette is never lost in a shadow
# Fixed to the camera, in right, up, away: from the upper left behind the camera. A light fixed to the world would
# leave back views flat.
LIGHT = (-0.45, 0.5, -0.74)


class Surface(Protocol):
    """The surface of a body model."""

    @property
    def faces(self) -> Tensor:
        """Vertex indices, counter-clockwise seen from outside, shape (F, 3)."""
        ...


def guidance_maps(
    vertices: Tensor, body: Surface, cameras: Cameras, *, angles: tuple[int, ...] = ANGLES, size: tuple[int, int]
) -> Tensor:
    """Render bodies as their images show them and turned about their vertical axes.

    The body keeps the scale and the axis position of its image in every turn, unless it would leave the picture (see
    ``camera.keep_inside``).

    Args:
        vertices: Posed bodies, shape (B, V, 3).
        body: Topology of the vertices.
        cameras: Cameras of the images, B of them.
        angles: Degrees; a positive turn moves a body that faces the camera towards the image's right.
        size: Height and width of the maps.

    Returns:
        Brightness, 0 where there is no body and ``BODY_MINIMUM`` to 255 on it, uint8, shape (B, A, H, W).
    """
    count, faces = len(angles), body.faces.to(vertices.device)
    angles_deg = torch.tensor(angles, dtype=torch.float32, device=vertices.device)
    turned, points = turned_views(vertices, cameras, angles_deg)  # cameras (B * A,), points (B * A, V, 3)
    fragments = rasterise(points, faces, size=size)
    normals = vertex_normals(vertices, faces).repeat_interleave(count, dim=0)
    facing = view(normals, turned.azimuth_deg, turned.elevation_deg)
    light = torch.nn.functional.normalize(facing.new_tensor(LIGHT), dim=0)
    lit = torch.nn.functional.normalize(interpolate(fragments, faces, facing), dim=-1) @ light  # of covered pixels
    maps = torch.zeros(fragments.face.shape, dtype=torch.uint8, device=vertices.device)
    maps[fragments.mask] = (BODY_MINIMUM + lit.clamp(0, 1) * (255 - BODY_MINIMUM)).round().to(torch.uint8)
    return maps.reshape(len(vertices), count, *size)


def turned_views(vertices: Tensor, cameras: Cameras, angles_deg: Tensor) -> tuple[Cameras, Tensor]:
    """Turn every body by every angle and keep it in its picture.

    Args:
        vertices: Posed bodies, shape (B, V, 3).
        cameras: Of their photographs, B of them.
        angles_deg: Shape (A,); at 0 the body stays where the photograph has it.

    Returns:
        Cameras of B * A views, a body's views in a row, and the projected bodies, shape (B * A, V, 3).
    """
    count = len(angles_deg)
    turned = cameras.turned(angles_deg)
    repeated = vertices.repeat_interleave(count, dim=0)
    points = project(repeated, turned)
    photographed = project(vertices, cameras)[..., :2].repeat_interleave(count, dim=0)
    kept = keep_inside(
        turned,
        points[..., :2].amin(dim=1),
        points[..., :2].amax(dim=1),
        photographed.amin(dim=1),
        photographed.amax(dim=1),
    )
    unturned = (angles_deg == 0).repeat(len(vertices))  # lies on the person in the photograph, wherever that is
    kept = Cameras(*(torch.where(unturned, *pair) for pair in zip(turned, kept, strict=True)))
    return kept, project(repeated, kept)
