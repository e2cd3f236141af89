"""The camera of a person crop: scaled orthographic, the model that single-image body estimators use.

Letters: B bodies (or views), V vertices.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Cameras(NamedTuple):
    """How bodies stand in their images. Every field has shape (B,).

    Lengths are fractions of the image's own width and height, so that a resized image keeps its camera.

    Attributes:
        azimuth_deg: Turn of the body: 0 faces the camera, 90 faces the image's right, 180 shows its back.
        elevation_deg: Height of the camera: positive looks down on the body.
        scale_x: Image widths a metre.
        scale_y: Image heights a metre.
        center_x: Where the body's origin (pelvis) lies, fraction of the width from the left.
        center_y: The same, fraction of the height from the top.
    """

    azimuth_deg: Tensor
    elevation_deg: Tensor
    scale_x: Tensor
    scale_y: Tensor
    center_x: Tensor
    center_y: Tensor

    def turned(self, angles_deg: Tensor) -> "Cameras":
        """Every camera once for each rotation of the body: (B,) and (A,) to (B * A,), a body's views in a row."""
        count = angles_deg.shape[0]
        repeated = Cameras(*(field.repeat_interleave(count) for field in self))
        turns = angles_deg.to(self.azimuth_deg).repeat(self.azimuth_deg.shape[0])
        return repeated._replace(azimuth_deg=repeated.azimuth_deg + turns)


def view(vertices: Tensor, azimuth_deg: Tensor, elevation_deg: Tensor) -> Tensor:
    """Turn bodies (or directions) into camera axes.

    Args:
        vertices: Body axes (z up, facing -y), shape (B, V, 3).
        azimuth_deg: Turn of the body, shape (B,).
        elevation_deg: Height of the camera, shape (B,).

    Returns:
        Right, up and depth (away from the camera), shape (B, V, 3).
    """
    azimuth, elevation = azimuth_deg.deg2rad()[:, None], elevation_deg.deg2rad()[:, None]
    x, y, z = vertices.unbind(-1)
    right = x * azimuth.cos() - y * azimuth.sin()
    away = x * azimuth.sin() + y * azimuth.cos()
    up = away * elevation.sin() + z * elevation.cos()
    depth = away * elevation.cos() - z * elevation.sin()
    return torch.stack([right, up, depth], dim=-1)


def project(vertices: Tensor, cameras: Cameras) -> Tensor:
    """Project bodies into their images.

    Args:
        vertices: Body axes, shape (B, V, 3).
        cameras: One a body.

    Returns:
        Image x and y as fractions of width and height from the upper left corner, and depth in metres, (B, V, 3).
    """
    right, up, depth = view(vertices, cameras.azimuth_deg, cameras.elevation_deg).unbind(-1)
    x = cameras.center_x[:, None] + cameras.scale_x[:, None] * right
    y = cameras.center_y[:, None] - cameras.scale_y[:, None] * up
    return torch.stack([x, y, depth], dim=-1)
