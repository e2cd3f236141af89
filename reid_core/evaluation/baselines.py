"""What needs no learning: the floor that every encoder has to beat.

Letters: N images of H x W pixels.
"""

import torch
from torch import Tensor

STRIPES = 6
BINS = 16


def colour_histogram(images: Tensor) -> Tensor:
    """Describe images by the colours of horizontal stripes, the classical baseline of person re-identification.

    Args:
        images: RGB, uint8, shape (N, 3, H, W), H at least ``STRIPES``.

    Returns:
        L2-normalised square roots of the shares of ``BINS`` levels of every channel in ``STRIPES`` stripes, so that
        the scalar product is the mean Bhattacharyya coefficient; shape (N, STRIPES * 3 * BINS).
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be uint8 of shape (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    count, _, height, width = images.shape
    if height < STRIPES:
        raise ValueError(f"images must be at least {STRIPES} pixels high, got {height}; choose larger images")
    stripe = torch.arange(height) * STRIPES // height  # (H,)
    level = images.long() * BINS // 256
    channel = torch.arange(3)[:, None, None]
    cell = (stripe[:, None] * 3 + channel) * BINS + level  # (N, 3, H, W)
    flat = cell.reshape(count, 3 * height * width)
    counts = torch.zeros(count, STRIPES * 3 * BINS).scatter_add_(1, flat, torch.ones(1, 1).expand(flat.shape))
    shares = counts.reshape(count, STRIPES * 3, BINS)
    roots = (shares / shares.sum(dim=2, keepdim=True)).sqrt().flatten(1)
    return torch.nn.functional.normalize(roots, dim=1)
