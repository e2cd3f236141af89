"""The outline of a person's mask, prepared so that a body can be fitted into it.

Letters: B images, R x R cells of a mask's square, E points of an outline, S surface points of a body.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample

from reid_core.mesh.landmarks import Look, Square

CELLS = 64
EDGE_POINTS = 64


class Outline(NamedTuple):
    """Masks as distances, lengths in heights of the pictures.

    Attributes:
        outside: How far a cell is from the person, 0 on the person and outside the picture, shape (B, R, R).
        corner: Upper left corner of the cells in the picture, shape (B, 2).
        side: Width of all cells together, shape (B,).
        edge: Points on the mask's edge, shape (B, E, 2).
        known: False for edge points that are no edge: at the picture's border or missing, shape (B, E).
    """

    outside: Tensor
    corner: Tensor
    side: Tensor
    edge: Tensor
    known: Tensor


def outline_of(look: Look, *, height: int, width: int) -> Outline:
    """Measure the outline of one picture (B = 1); see ``join``."""
    step = look.mask.shape[0] // CELLS
    soft = look.mask.reshape(CELLS, step, CELLS, step).mean(axis=(1, 3))
    x, y = _centers(look.square)
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None]
    person = (soft > 0.5) & inside
    cell = look.square.side / CELLS / height
    outside = np.zeros((CELLS, CELLS)) if not person.any() else ndimage.distance_transform_edt(~person) * cell
    outside[~inside] = 0.0  # nobody can see there
    edge, known = _edge(person, inside, x / height, y / height)
    corner = np.array([look.square.center_x, look.square.center_y]) - look.square.side / 2
    return Outline(
        torch.from_numpy(outside).float()[None],
        torch.from_numpy(corner / height).float()[None],
        torch.tensor([look.square.side / height], dtype=torch.float32),
        torch.from_numpy(edge).float()[None],
        torch.from_numpy(known)[None],
    )


def join(outlines: list[Outline]) -> Outline:
    """Put the outlines of B pictures together."""
    return Outline(*(torch.cat(fields) for fields in zip(*outlines, strict=True)))


def sticking_out(outline: Outline, points: Tensor) -> Tensor:
    """Measure how far points are outside of the mask, in picture heights: (B, S, 2) to (B, S)."""
    grid = (points - outline.corner[:, None]) / outline.side[:, None, None] * 2.0 - 1.0
    found = grid_sample(outline.outside[:, None], grid[:, None], padding_mode="zeros", align_corners=False)
    return found[:, 0, 0]


def uncovered(outline: Outline, points: Tensor) -> Tensor:
    """Measure how far each edge point is from the body, 0 where no edge is known: points (B, S, 2) to (B, E)."""
    # The nearest point is picked without, its distance computed with gradients: cheaper than a derivative of all.
    with torch.no_grad():
        nearest = torch.cdist(outline.edge, points).argmin(dim=2)  # (B, E)
    chosen = points.gather(1, nearest[..., None].expand(-1, -1, 2))
    return ((outline.edge - chosen).square().sum(dim=-1) + 1e-8).sqrt() * outline.known


def _centers(square: Square) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle of every column and row of cells, in pixels of the picture."""
    steps = ((np.arange(CELLS) + 0.5) / CELLS - 0.5) * square.side
    return square.center_x + steps, square.center_y + steps


def _edge(
    person: NDArray[np.bool_], inside: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Choose, evenly, cells of the person that touch something else inside the picture: (E, 2), (E,)."""
    inner = ndimage.binary_erosion(person, border_value=1)
    seen = ndimage.binary_erosion(inside, border_value=0)
    rows, columns = np.nonzero(person & ~inner & seen)
    edge, known = np.zeros((EDGE_POINTS, 2)), np.zeros(EDGE_POINTS, dtype=np.bool_)
    count = min(EDGE_POINTS, len(rows))
    if count:
        chosen = np.linspace(0, len(rows) - 1, count).round().astype(int)
        edge[:count] = np.stack([x[columns[chosen]], y[rows[chosen]]], axis=1)
        known[:count] = True
    return edge, known
