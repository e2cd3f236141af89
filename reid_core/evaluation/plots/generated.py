"""Sheets of generated people, for the eye: every rotation of a person in a row, and pairs mixed in three ways.

Letters: R people or pairs, H x W pixels, L ratios.
"""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from reid_core.data.images import as_uint8
from reid_core.evaluation.sheets import Cell, draw_sheet
from reid_core.learning.mixing import blend
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder

_TITLES = {
    "dmixup": "D-mixup: appearance alone is mixed",
    "fmixup": "F-mixup: appearance and body are mixed",
    "image": "mixup: pixels are mixed",
}


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
    return columns_sheet(columns, names)


def columns_sheet(columns: Sequence[Tensor], names: Sequence[str]) -> Image.Image:
    """Lay out columns of images under their names.

    Args:
        columns: Images in [-1, 1], shape (R, 3, H, W) each.
        names: One a column.

    Returns:
        The picture.
    """
    assert len(columns) == len(names), (len(columns), len(names))
    images = as_uint8(torch.stack([column.detach().cpu() for column in columns], dim=1))  # (R, columns, 3, H, W)
    return draw_sheet([[Cell(image) for image in row] for row in images], headings=names)


@torch.no_grad()
def mixing_sheet(
    generator: Generator, encoder: IdentityEncoder, images: Tensor, guidance: Tensor, *, num_ratios: int = 5
) -> Image.Image:
    """Draw pairs of people, three rows each: D-mixup (section 3.5 of the paper), F-mixup and plain mixup.

    Args:
        generator: S and G.
        encoder: Appearance of the people; its mode is left alone.
        images: In [-1, 1], person i and person j in turn, shape (2 R, 3, H, W).
        guidance: Of every image, in [-1, 1], shape (2 R, 1, H, W).
        num_ratios: L, shares of person j from 0 to 1.

    Returns:
        The picture: person i, L mixtures, person j.
    """
    assert len(images) >= 2, len(images)
    assert len(images) % 2 == 0, len(images)
    parts = generator.appearance(encoder.maps(images))
    structure = generator.structure(guidance)
    ratios = torch.linspace(1, 0, num_ratios, device=images.device)
    words = [f"{100 * float(1 - ratio):.0f} % j" for ratio in ratios]
    rows: list[list[Cell]] = []
    for i in range(0, len(images), 2):
        first, second = (slice(i, i + 1), slice(i + 1, i + 2))
        mixed_parts = _between(parts[first], parts[second], ratios)
        still = structure[first].expand(num_ratios, -1, -1, -1)
        drawn = {
            "dmixup": generator.decoder(still, mixed_parts),
            "fmixup": generator.decoder(_between(structure[first], structure[second], ratios), mixed_parts),
            "image": _between(images[first], images[second], ratios),
        }
        ends = as_uint8(images[i : i + 2].cpu())
        for kind in _TITLES:
            cells = [Cell(image, word) for image, word in zip(as_uint8(drawn[kind].cpu()), words, strict=True)]
            rows.append([Cell(ends[0], "person i"), *cells, Cell(ends[1], "person j")])
    return draw_sheet(rows, list(_TITLES.values()) * (len(images) // 2))


def _between(first: Tensor, second: Tensor, ratios: Tensor) -> Tensor:
    """Return mixtures of two rows of any shape, (L, ...)."""
    shape = (len(ratios), *first.shape[1:])
    return blend(first.expand(shape), second.expand(shape), ratios)
