"""A sheet of generated people, for the eye: one row a person.

Letters: R rows, H x W pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from reid_core.data.images import as_uint8
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder

_HEADING = 14  # pixels above the columns
_GAP = 2


@torch.no_grad()
def generator_grid(
    generator: Generator, encoder: IdentityEncoder, images: Tensor, guidance: Tensor, angles: Sequence[int]
) -> Image.Image:
    """Draw input, guidance, reconstruction, every rotation, and the first rotation turned back.

    Args:
        generator: S and G.
        encoder: Appearance of the people; its mode is left alone.
        images: In [-1, 1], shape (R, 3, H, W).
        guidance: Map of every angle in [-1, 1], shape (R, len(angles), H, W); the first angle is 0.
        angles: Degrees, from 0.

    Returns:
        One row a person.
    """
    parts = generator.appearance(encoder.maps(images))
    turned = [generator(guidance[:, [column]], parts) for column in range(len(angles))]
    back_from = turned[min(4, len(angles) - 1)]
    back_parts = generator.appearance(encoder.maps(back_from))
    back = generator(guidance[:, [0]], back_parts)
    columns = [images, guidance[:, [0]].expand(-1, 3, -1, -1), *turned, back]
    names = ["input", "mesh", "same", *[f"{angle}" for angle in angles[1:]], "back"]
    return sheet(columns, names)


def sheet(columns: Sequence[Tensor], names: Sequence[str]) -> Image.Image:
    """Lay out columns of images under their names, enlarged until a person is about 128 pixels tall.

    Args:
        columns: Images in [-1, 1], shape (R, 3, H, W) each.
        names: One a column.

    Returns:
        The picture.
    """
    assert len(columns) == len(names), (len(columns), len(names))
    height, width = columns[0].shape[2:]
    zoom = max(1, 128 // height)
    cells = as_uint8(torch.stack([column.detach().cpu() for column in columns], dim=1))  # (R, columns, 3, H, W)
    cell_height, cell_width = height * zoom + _GAP, width * zoom + _GAP
    picture = Image.new("RGB", (len(columns) * cell_width, _HEADING + len(cells) * cell_height), "white")
    draw = ImageDraw.Draw(picture)
    for column, name in enumerate(names):
        draw.text((column * cell_width + 2, 1), name, fill="black")
        for row in range(len(cells)):
            pixels = np.ascontiguousarray(cells[row, column].permute(1, 2, 0).numpy())
            cell = Image.fromarray(pixels).resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
            picture.paste(cell, (column * cell_width, _HEADING + row * cell_height))
    return picture
