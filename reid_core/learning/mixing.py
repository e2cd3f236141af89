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

    def partners(self, values: Tensor) -> Tensor:
        """Return the second images' values of something that each image has, shape (B, ...), on whichever rank."""
        return gather_batch(values)[self.partner]


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


def mixed_code(kind: MixingKind, structure: Tensor, part_features: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Mix what the decoder paints: D-mixup, or F-mixup to compare with.

    Args:
        kind: ``dmixup`` keeps the first image's structure and mixes appearances alone (section 3.5 of the paper);
            ``fmixup`` mixes features without disentangling, structure included.
        structure: S(g), shape (B, K, H/4, W/4).
        part_features: A(x), shape (B, P, C).
        mixture: Partners and ratios.

    Returns:
        Structure and part features for the decoder, in the shapes that came.
    """
    assert kind in ("dmixup", "fmixup"), kind
    if kind == "fmixup":
        structure = blend(structure, mixture.partners(structure), mixture.ratio)
    return structure, blend(part_features, mixture.partners(part_features), mixture.ratio)


def image_mixup(images: Tensor, mixture: Mixture) -> Tensor:
    """Plain mixup, a comparison: pixels are mixed, ghosts included.

    Args:
        images: Shape (B, 3, H, W).
        mixture: Partners and ratios.

    Returns:
        Shape (B, 3, H, W).
    """
    return blend(images, mixture.partners(images), mixture.ratio)
