"""Losses of the least-squares GAN over score maps of several scales, and R1 (Mescheder et al., arXiv 1801.04406).

Letters: B images, H x W pixels, h x w size of a score map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def generator_loss(scores: Sequence[Tensor]) -> Tensor:
    """L_adv of the generator: every generated patch should score 1.

    Args:
        scores: Score maps of generated images, one a scale, each of shape (B, 1, h, w).

    Returns:
        Sum over scales for every image, shape (B,).
    """
    return torch.stack([(score - 1).square().mean(dim=(1, 2, 3)) for score in scores]).sum(dim=0)


def discriminator_loss(scores: Sequence[Tensor], *, real: bool) -> Tensor:
    """Loss of the discriminator: real patches should score 1 and generated ones 0.

    Args:
        scores: Score maps, one a scale, each of shape (B, 1, h, w).
        real: Whether the images are real.

    Returns:
        Sum over scales for every image, shape (B,).
    """
    target = 1.0 if real else 0.0
    return torch.stack([(score - target).square().mean(dim=(1, 2, 3)) for score in scores]).sum(dim=0)


def r1_penalty(scores: Sequence[Tensor], images: Tensor) -> Tensor:
    """R1: squared norm of the gradient of the scores with respect to real images.

    Args:
        scores: Score maps of ``images``, one a scale, each of shape (B, 1, h, w).
        images: Real images that require gradients, shape (B, 3, H, W).

    Returns:
        Penalty of every image, differentiable, shape (B,).
    """
    assert images.requires_grad, "the penalty differentiates with respect to the images"
    total = torch.stack([score.mean(dim=(1, 2, 3)).sum() for score in scores]).sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))
