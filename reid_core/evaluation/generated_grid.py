"""Sheets of generated people, for the eye: rotations one row a person, mixes one block a pair.

Letters: R rows, H x W pixels, L ratios.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from reid_core.data.images import as_uint8
from reid_core.learning.mixing import Mixture, fmixup_code, image_mixup, mixing_row
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder, part_appearance

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
    parts = part_appearance(encoder(images).feature_map, generator.num_parts)
    turned = [generator(guidance[:, [column]], parts) for column in range(len(angles))]
    back_from = turned[min(4, len(angles) - 1)]
    back_parts = part_appearance(encoder(back_from).feature_map, generator.num_parts)
    back = generator(guidance[:, [0]], back_parts)
    columns = [images, guidance[:, [0]].expand(-1, 3, -1, -1), *turned, back]
    names = ["input", "mesh", "same", *[f"{angle}" for angle in angles[1:]], "back"]
    return sheet(columns, names)


@torch.no_grad()
def mixing_grid(
    generator: Generator, encoder: IdentityEncoder, images: Tensor, guidance: Tensor, *, num_ratios: int = 5
) -> Image.Image:
    """Draw pairs of people mixed in appearance alone (D-mixup), beside image mixup and F-mixup at one half.

    Args:
        generator: S and G.
        encoder: Appearance of the people; its mode is left alone.
        images: In [-1, 1], person i and person j in turn, shape (2 R, 3, H, W).
        guidance: In [-1, 1], shape (2 R, 1, H, W).
        num_ratios: L, shares of person j from 0 to 1.

    Returns:
        One row a pair.
    """
    parts = part_appearance(encoder(images).feature_map, generator.num_parts)
    ratios = torch.linspace(1, 0, num_ratios, device=images.device)
    rows = [mixing_row(generator, guidance[i : i + 1], parts[i : i + 2], ratios) for i in range(0, len(images), 2)]
    mixed = torch.stack(rows)  # (R, L, 3, H, W)
    order = torch.arange(len(images), device=images.device)
    half = Mixture(partner=order + 1 - 2 * (order % 2), ratio=torch.full((len(images),), 0.5, device=images.device))
    plain = image_mixup(images, half)[::2]
    fmixed = generator.decoder(*fmixup_code(generator.structure(guidance), parts, half))[::2]
    columns = [images[::2], images[1::2], *mixed.unbind(dim=1), plain, fmixed]
    names = ["i", "j", *[f"{100 * float(1 - ratio):.0f}% j" for ratio in ratios], "mixup", "F-mix"]
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
