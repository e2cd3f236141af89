"""Keeping turned bodies inside their pictures.

A crop of a person ends where that person ends. The same person turned is wider or narrower, and the axis of the turn
need not lie in the crop's middle: left alone, about every second turned body would lose a hand or a foot at the edge.

Letters: B views, A angles.
"""

import torch
from torch import Tensor

from reid_core.mesh.camera import Cameras


def keep_inside(cameras: Cameras, low: Tensor, high: Tensor, first_low: Tensor, first_high: Tensor) -> Cameras:
    """Move views by as little as brings their bodies into the picture; squeeze those that are too large for it.

    A body that the photograph itself cuts off, at the feet for example, stays cut off there: vertically the picture
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
    scale_x, center_x = _fit(cameras.scale_x, cameras.center_x, low[:, 0], high[:, 0], zero, one)
    bottom, top = torch.minimum(first_low[:, 1], zero), torch.maximum(first_high[:, 1], one)
    scale_y, center_y = _fit(cameras.scale_y, cameras.center_y, low[:, 1], high[:, 1], bottom, top)
    return cameras._replace(scale_x=scale_x, center_x=center_x, scale_y=scale_y, center_y=center_y)


def _fit(
    scale: Tensor, center: Tensor, low: Tensor, high: Tensor, first: Tensor, last: Tensor
) -> tuple[Tensor, Tensor]:
    """Fit the stretch from ``low`` to ``high`` into that from ``first`` to ``last``; all shapes (B,)."""
    shrink = ((last - first) / (high - low).clamp_min(1e-6)).clamp(max=1.0)
    low, high = center + (low - center) * shrink, center + (high - center) * shrink
    shift = (first - low).clamp(min=0.0) - (high - last).clamp(min=0.0)
    return scale * shrink, center + shift
