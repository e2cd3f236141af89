"""Pairs of people mixed in three ways, row below row: what disentangling buys is seen at once.

Letters: R pairs, H x W pixels, L ratios.
"""

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
