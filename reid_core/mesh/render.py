"""Rasterisation of bodies in their images. The only module that knows PyTorch3D.

Letters: B views, V vertices, F faces, C channels, T tiles.
"""

from typing import NamedTuple

import torch
from pytorch3d.renderer.mesh import rasterize_meshes
from pytorch3d.structures import Meshes
from torch import Tensor

# PyTorch3D's rasteriser on a CPU tries every face in every pixel. Cut into tiles that know their own faces, the same
# picture costs a small part of it. On a GPU it bins faces by itself, and a view is one tile.
TILE_PIXELS = 16
NEAR = 10.0  # bodies are a few metres deep at most; the rasteriser wants every depth above zero


class Fragments(NamedTuple):
    """The surface behind every pixel.

    Attributes:
        face: Face of the nearest surface, -1 where there is none, shape (B, H, W).
        barycentric: Weights of that face's three vertices, shape (B, H, W, 3).
    """

    face: Tensor
    barycentric: Tensor

    @property
    def mask(self) -> Tensor:
        """True where a body is, shape (B, H, W)."""
        return self.face >= 0


def rasterise(points: Tensor, faces: Tensor, *, size: tuple[int, int]) -> Fragments:
    """Find the surface behind every pixel of every view, all views in one call of the rasteriser.

    Args:
        points: Image x and y as fractions from the upper left corner and depth, shape (B, V, 3).
        faces: Vertex indices shared by all views, counter-clockwise from outside, shape (F, 3).
        size: Height and width in pixels.

    Returns:
        Fragments of the nearest faces that look at the camera.
    """
    height, width = size
    tile = TILE_PIXELS if points.device.type == "cpu" else max(height, width)
    rows, columns = -(-height // tile), -(-width // tile)
    pixels = points * points.new_tensor([width, height, 1.0])
    corners = pixels[:, faces]  # (B, F, 3, 3)
    view, tile_row, tile_column, face = _faces_of_tiles(corners, tile, rows, columns)

    origin = torch.stack([tile_column, tile_row], dim=-1) * float(tile)
    seen = corners[view, face].clone()  # (M, 3, 3)
    # PyTorch3D's axes: x to the left, y up, the square tile spans [-1, 1].
    seen[..., :2] = 1.0 - (seen[..., :2] - origin[:, None].to(seen)) * (2.0 / tile)
    seen[..., 2] += NEAR
    counts = torch.bincount((view * rows + tile_row) * columns + tile_column, minlength=len(points) * rows * columns)
    found, barycentric = _rasterise_tiles(seen, counts, tile)

    original = torch.cat([face, face.new_tensor([-1])])[found]  # -1 (nothing) picks the last entry
    return Fragments(
        _join(original, len(points), rows, columns)[:, :height, :width],
        _join(barycentric, len(points), rows, columns)[:, :height, :width],
    )


def _faces_of_tiles(corners: Tensor, tile: int, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """View, tile row, tile column and face of every pair of a tile and a face that may be seen in it."""
    low = corners[..., :2].amin(dim=2)  # (B, F, 2)
    high = corners[..., :2].amax(dim=2)
    edge1 = corners[..., 1, :2] - corners[..., 0, :2]
    edge2 = corners[..., 2, :2] - corners[..., 0, :2]
    # Counter-clockwise from outside is clockwise in pixels (y points down) for a face that looks at the camera.
    front = edge1[..., 0] * edge2[..., 1] - edge1[..., 1] * edge2[..., 0] < 0  # (B, F)
    row_start = torch.arange(rows, device=corners.device) * float(tile)
    column_start = torch.arange(columns, device=corners.device) * float(tile)
    in_row = (high[..., 1, None] >= row_start) & (low[..., 1, None] <= row_start + tile)  # (B, F, rows)
    in_column = (high[..., 0, None] >= column_start) & (low[..., 0, None] <= column_start + tile)
    pairs = (front[..., None] & in_row)[..., None] & in_column[:, :, None]  # (B, F, rows, columns)
    view, row, column, face = pairs.permute(0, 2, 3, 1).nonzero(as_tuple=True)
    return view, row, column, face


def _rasterise_tiles(corners: Tensor, counts: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """Rasterise M faces, grouped into T tiles by ``counts``: packed face (T, t, t) or -1, barycentric (T, t, t, 3)."""
    found = counts.new_full((len(counts), tile, tile), -1)
    barycentric = corners.new_zeros(len(counts), tile, tile, 3)
    occupied = counts.nonzero().flatten()
    if len(occupied) == 0:
        return found, barycentric
    vertices = list(torch.split(corners.reshape(-1, 3), (counts[occupied] * 3).tolist()))
    triangles = [torch.arange(len(part), device=corners.device).reshape(-1, 3) for part in vertices]
    seen, _, weights, _ = rasterize_meshes(
        Meshes(verts=vertices, faces=triangles),
        image_size=(tile, tile),
        blur_radius=0.0,
        faces_per_pixel=1,
        bin_size=0 if corners.device.type == "cpu" else None,
        perspective_correct=False,
    )
    found[occupied], barycentric[occupied] = seen[..., 0], weights[..., 0, :]
    return found, barycentric


def _join(tiles: Tensor, views: int, rows: int, columns: int) -> Tensor:
    """Put tiles (B * rows * columns, t, t, ...) together to pictures (B, rows * t, columns * t, ...)."""
    tile = tiles.shape[1]
    grid = tiles.reshape(views, rows, columns, tile, tile, *tiles.shape[3:])
    return grid.transpose(2, 3).reshape(views, rows * tile, columns * tile, *tiles.shape[3:])


def interpolate(fragments: Fragments, faces: Tensor, attributes: Tensor) -> Tensor:
    """Spread attributes of vertices over the pixels of the picture.

    Args:
        fragments: Of B views.
        faces: Vertex indices, shape (F, 3).
        attributes: Of every vertex, shape (B, V, C), or (1, V, C) when the views share them.

    Returns:
        Attribute of every covered pixel, in the order of ``fragments.mask.nonzero()``, shape (pixels, C).
    """
    view, row, column = fragments.mask.nonzero(as_tuple=True)
    vertices = faces[fragments.face[view, row, column]]  # (pixels, 3)
    owner = view if attributes.shape[0] > 1 else torch.zeros_like(view)
    weights = fragments.barycentric[view, row, column]
    return (attributes[owner[:, None], vertices] * weights[..., None]).sum(dim=1)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals of vertices, faces weighted by their area: (B, V, 3) and (F, 3) to (B, V, 3)."""
    corners = vertices[:, faces]  # (B, F, 3, 3)
    across = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(1, faces[:, corner], across)
    return torch.nn.functional.normalize(normals, dim=-1)
