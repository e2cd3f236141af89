"""Classical augmentation of a batch: flip, pad and crop, colour jitter, erasing.

Letters: B images, H x W pixels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Augmentation(NamedTuple):
    """How strongly to augment.

    Attributes:
        flip_probability: Of a mirror image.
        pad: Pixels added on every side before a crop of the old size is taken.
        erase_probability: Of one random rectangle filled with the mean colour.
        jitter: Half the range of brightness, contrast and channel gains; 0 leaves colours alone.
    """

    flip_probability: float = 0.5
    pad: int = 10
    erase_probability: float = 0.5
    jitter: float = 0.0


def augment(images: Tensor, how: Augmentation, *, generator: torch.Generator) -> Tensor:
    """Augment every image of a batch on its own.

    Args:
        images: In [-1, 1], shape (B, 3, H, W).
        how: Strengths.
        generator: Source of randomness, on the CPU.

    Returns:
        Shape (B, 3, H, W).
    """
    images = _flip(images, how.flip_probability, generator)
    images = _crop(images, how.pad, generator)
    images = _jitter(images, how.jitter, generator)
    return _erase(images, how.erase_probability, generator)


def _flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    chosen = (torch.rand(len(images), generator=generator) < probability).to(images.device)
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


def _crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    if pad == 0:
        return images
    count, _, height, width = images.shape
    top, left = torch.randint(2 * pad + 1, (2, count, 1), generator=generator).to(images.device)
    rows = (top + torch.arange(height, device=images.device)).view(count, 1, height, 1)
    columns = (left + torch.arange(width, device=images.device)).view(count, 1, 1, width)
    padded = F.pad(images, (pad, pad, pad, pad))
    batch = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(3, device=images.device).view(1, 3, 1, 1)
    return padded[batch, channel, rows, columns]


def _jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    if strength == 0:
        return images
    draws = (2 * torch.rand(len(images), 5, generator=generator) - 1).to(images.device) * strength
    gain = 1 + 0.5 * draws[:, :3].view(-1, 3, 1, 1)
    brightness, contrast = draws[:, 3].view(-1, 1, 1, 1), 1 + draws[:, 4].view(-1, 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    coloured = ((images - mean) * contrast + mean + 1) * gain - 1 + brightness
    return coloured.clamp(-1, 1)


def _erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    count, _, height, width = images.shape
    chosen, area, aspect, top, left = torch.rand(5, count, generator=generator).to(images.device)
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
    mask = (inside_y & inside_x & (chosen < probability).view(-1, 1, 1))[:, None]
    return torch.where(mask, torch.zeros((), device=images.device), images)
