"""Mixing two people: D-mixup in appearance alone, and the two mixtures that it is compared with.

Letters: B images, H x W pixels, P parts, C channels, K structure channels.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_core.distributed import gather_batch, own_slice

MixingKind = Literal["dmixup", "image", "fmixup", "none"]


class Mixture(NamedTuple):
    """Who is mixed with whom, and how much of the first stays.

    Attributes:
        partner: Position of the second image in the global batch (it may lie on another rank), shape (B,).
        ratio: Share of the first image, in [0.5, 1], shape (B,).
    """

    partner: Tensor
    ratio: Tensor

    def own(self) -> "Mixture":
        """Return this rank's part of a mixture that was drawn for the global batch."""
        return Mixture(own_slice(self.partner), own_slice(self.ratio))

    def partners(self, rows: Tensor) -> Tensor:
        """Return the second images' rows of what every rank has one row an image of, in the shape that came."""
        return gather_batch(rows)[self.partner]


def draw_mixture(num_images: int, *, alpha: float, generator: torch.Generator) -> Mixture:
    """Draw partners and ratios: l ~ Beta(alpha, alpha), l = max(l, 1 - l).

    Args:
        num_images: Of the global batch: every rank draws the same and takes its own part.
        alpha: Both parameters of the Beta distribution, above 0.
        generator: Source of randomness.

    Returns:
        The mixture, on the CPU.
    """
    # torch's Beta takes no generator of its own; numpy's is seeded by one draw from ours.
    numbers = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    ratio = torch.from_numpy(numbers.beta(alpha, alpha, num_images)).float()
    return Mixture(torch.randperm(num_images, generator=generator), torch.maximum(ratio, 1 - ratio))


def blend(first: Tensor, second: Tensor, ratio: Tensor) -> Tensor:
    """Return ratio * first + (1 - ratio) * second, ratio (B,) applied along the first dimension."""
    weight = ratio.view(-1, *[1] * (first.dim() - 1)).to(first)
    return weight * first + (1 - weight) * second


def dmixup_code(structure: Tensor, parts: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Disentangled mixup: the first one's structure, both appearances (section 3.5 of the paper).

    Args:
        structure: S(g), shape (B, K, H/4, W/4).
        parts: A(x), shape (B, P, C).
        mixture: Partners and ratios.

    Returns:
        Structure and parts for the decoder, in the shapes that came.
    """
    return structure, blend(parts, mixture.partners(parts), mixture.ratio)


def fmixup_code(structure: Tensor, parts: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """F-mixup, a comparison: features are mixed without disentangling, structure included.

    Args:
        structure: S(g), shape (B, K, H/4, W/4).
        parts: A(x), shape (B, P, C).
        mixture: Partners and ratios.

    Returns:
        Structure and parts for the decoder, in the shapes that came.
    """
    return (
        blend(structure, mixture.partners(structure), mixture.ratio),
        blend(parts, mixture.partners(parts), mixture.ratio),
    )


def image_mixup(images: Tensor, mixture: Mixture) -> Tensor:
    """Plain mixup, a comparison: pixels are mixed, ghosts included.

    Args:
        images: Shape (B, 3, H, W).
        mixture: Partners and ratios.

    Returns:
        Shape (B, 3, H, W).
    """
    return blend(images, mixture.partners(images), mixture.ratio)


def mixed_code(kind: MixingKind, structure: Tensor, parts: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Return what the decoder paints for a generated kind of mixture (``dmixup`` or ``fmixup``)."""
    assert kind in ("dmixup", "fmixup"), kind
    return (dmixup_code if kind == "dmixup" else fmixup_code)(structure, parts, mixture)
