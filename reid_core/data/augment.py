"""Classical augmentation of a batch: flip, pad and crop, colour jitter, erasing.

Letters: B images, H x W pixels.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Strengths of classical augmentation.

    Attributes:
        flip_probability: Probability of a mirror image (Cluster Contrast).
        pad: Pixels added on every side before a crop of the old size is taken (Cluster Contrast).
        erase_probability: Probability of a random rectangle filled with the mean colour (Cluster Contrast).
        jitter: Half range of brightness, contrast and channel gains; 0 leaves colours alone (ours).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    flip_probability: Annotated[float, Ge(0), Le(1)] = 0.5
    pad: Annotated[int, Ge(0), Le(64)] = 10
    erase_probability: Annotated[float, Ge(0), Le(1)] = 0.5
    jitter: Annotated[float, Ge(0), Le(0.9)] = 0.0


class AugmentDraws(NamedTuple):
    """Random numbers for the augmentation of B images, in [0, 1) unless said.

    Attributes:
        flip: Shape (B,).
        shift: Rows and columns cut off at the top left, whole numbers up to twice the padding, shape (2, B, 1).
        colour: Shape (B, 5).
        erase: Shape (5, B).
    """

    flip: Tensor
    shift: Tensor
    colour: Tensor
    erase: Tensor

    def of(self, rows: slice) -> "AugmentDraws":
        """Return what was drawn for some of the images."""
        return AugmentDraws(self.flip[rows], self.shift[:, rows], self.colour[rows], self.erase[:, rows])


def draw_augmentation(num_images: int, strengths: Augmentation, *, generator: torch.Generator) -> AugmentDraws:
    """Draw the augmentation of a (global) batch.

    Args:
        num_images: B.
        strengths: Of the augmentation.
        generator: Source of randomness, on the CPU.

    Returns:
        Draws on the CPU.
    """
    return AugmentDraws(
        flip=torch.rand(num_images, generator=generator),
        shift=torch.randint(2 * strengths.pad + 1, (2, num_images, 1), generator=generator)
        if strengths.pad
        else torch.zeros(2, num_images, 1, dtype=torch.long),
        colour=torch.rand(num_images, 5, generator=generator) if strengths.jitter else torch.zeros(num_images, 5),
        erase=torch.rand(5, num_images, generator=generator),
    )


def augment(images: Tensor, strengths: Augmentation, draws: AugmentDraws) -> Tensor:
    """Augment every image of a batch on its own.

    Args:
        images: In [-1, 1], shape (B, 3, H, W).
        strengths: Of the augmentation.
        draws: Of these images.

    Returns:
        Shape (B, 3, H, W).
    """
    draws = AugmentDraws(*(column.to(images.device) for column in draws))
    images = _flip(images, strengths.flip_probability, draws.flip)
    images = _crop(images, strengths.pad, draws.shift)
    images = _jitter(images, strengths.jitter, draws.colour)
    return _erase(images, strengths.erase_probability, draws.erase)


def _flip(images: Tensor, probability: float, drawn: Tensor) -> Tensor:
    return torch.where((drawn < probability).view(-1, 1, 1, 1), images.flip(3), images)


def _crop(images: Tensor, pad: int, shift: Tensor) -> Tensor:
    if pad == 0:
        return images
    count, _, height, width = images.shape
    top, left = shift  # (B, 1) each
    rows = (top + torch.arange(height, device=images.device)).view(count, 1, height, 1)
    columns = (left + torch.arange(width, device=images.device)).view(count, 1, 1, width)
    padded = F.pad(images, (pad, pad, pad, pad))
    batch = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(3, device=images.device).view(1, 3, 1, 1)
    return padded[batch, channel, rows, columns]


def _jitter(images: Tensor, strength: float, drawn: Tensor) -> Tensor:
    if strength == 0:
        return images
    draws = (2 * drawn - 1) * strength  # (B, 5): gains of the channels, brightness, contrast
    gain = 1 + 0.5 * draws[:, :3].view(-1, 3, 1, 1)
    brightness, contrast = draws[:, 3].view(-1, 1, 1, 1), 1 + draws[:, 4].view(-1, 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    coloured = ((images - mean) * contrast + mean + 1) * gain - 1 + brightness
    return coloured.clamp(-1, 1)


def _erase(images: Tensor, probability: float, drawn: Tensor) -> Tensor:
    height, width = images.shape[2:]
    chosen, area, aspect, top, left = drawn  # (B,) each
    # Area 2 to 40 % and aspect 0.3 to 3.3, the values of Random Erasing (arXiv 1708.04896).
    area = (0.02 + 0.38 * area) * height * width
    aspect = torch.exp((2 * aspect - 1) * 1.2)
    tall = (area * aspect).sqrt().clamp(1, height)
    wide = (area / aspect).sqrt().clamp(1, width)
    y0, x0 = top * (height - tall), left * (width - wide)
    y = torch.arange(height, device=images.device).view(1, -1, 1)
    x = torch.arange(width, device=images.device).view(1, 1, -1)
    inside_y = (y >= y0.view(-1, 1, 1)) & (y < (y0 + tall).view(-1, 1, 1))
    inside_x = (x >= x0.view(-1, 1, 1)) & (x < (x0 + wide).view(-1, 1, 1))
    # The mean colour is 0 in [-1, 1].
    mask = (inside_y & inside_x & (chosen < probability).view(-1, 1, 1))[:, None]
    return torch.where(mask, torch.zeros((), device=images.device), images)
