"""The camera of a person crop: scaled orthographic, the model that single-image body estimators use.

Letters: B bodies (or views of bodies), V vertices, A angles.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Cameras(NamedTuple):
    """Places and sizes of bodies in their images. Every field has shape (B,).

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
        """Repeat every camera for each rotation of its body: (B,) and (A,) to (B * A,), a body's views in a row."""
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


def keep_inside(cameras: Cameras, low: Tensor, high: Tensor, first_low: Tensor, first_high: Tensor) -> Cameras:
    """Move views by as little as brings their bodies into the picture; squeeze those that are too large for it.

    A crop ends where its person ends. The same person turned is wider or narrower, and the axis of the turn need not
    lie in the crop's middle: left alone, about every second turned body would lose a hand or a foot at the edge. But a
    body that the photograph itself cuts off, at the feet for example, stays cut off there: vertically the picture
    counts as being as tall as the photograph's body.

    Args:
        cameras: Of B views.
        low: Smallest x and y of each body, fractions of the picture from the upper left corner, shape (B, 2).
        high: Largest x and y, shape (B, 2).
        first_low: Smallest x and y of the same bodies in their photographs, shape (B, 2).
        first_high: Largest x and y there, shape (B, 2).

    Returns:
        Cameras of the views; unchanged where the body lies inside.
    """
    zero, one = torch.zeros_like(low[:, 0]), torch.ones_like(low[:, 0])
    scale_x, center_x = _fit_interval(cameras.scale_x, cameras.center_x, low[:, 0], high[:, 0], zero, one)
    bottom, top = torch.minimum(first_low[:, 1], zero), torch.maximum(first_high[:, 1], one)
    scale_y, center_y = _fit_interval(cameras.scale_y, cameras.center_y, low[:, 1], high[:, 1], bottom, top)
    return cameras._replace(scale_x=scale_x, center_x=center_x, scale_y=scale_y, center_y=center_y)


def _fit_interval(
    scale: Tensor, center: Tensor, low: Tensor, high: Tensor, first: Tensor, last: Tensor
) -> tuple[Tensor, Tensor]:
    """Fit the stretch from ``low`` to ``high`` into that from ``first`` to ``last``; all shapes (B,)."""
    shrink = ((last - first) / (high - low).clamp_min(1e-6)).clamp(max=1.0)
    low, high = center + (low - center) * shrink, center + (high - center) * shrink
    shift = (first - low).clamp(min=0.0) - (high - last).clamp(min=0.0)
    return scale * shrink, center + shift
