"""Least-squares GAN over the score maps of several scales.

Letters: B images, h x w size of a score map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def deceive(scores: Sequence[Tensor]) -> Tensor:
    """L_adv of the generator: every generated patch should score 1.

    Args:
        scores: Score maps of generated images, one a scale, each of shape (B, 1, h, w).

    Returns:
        Sum over scales for every image, shape (B,).
    """
    return torch.stack([(score - 1).square().mean(dim=(1, 2, 3)) for score in scores]).sum(dim=0)


def discern(scores: Sequence[Tensor], *, real: bool) -> Tensor:
    """Loss of the discriminator: real patches should score 1 and generated ones 0.

    Args:
        scores: Score maps, one a scale, each of shape (B, 1, h, w).
        real: Whether the images are real.

    Returns:
        Sum over scales for every image, shape (B,).
    """
    target = 1.0 if real else 0.0
    return torch.stack([(score - target).square().mean(dim=(1, 2, 3)) for score in scores]).sum(dim=0)
