"""Putting a generated person in front of another image's background, beyond the paper.

A rotated view keeps its source's background, which contrast would happily use as a shortcut.

Letters: B images, H x W pixels.
"""

from torch import Tensor

from reid_core.learning.guidance import BACKGROUND


def silhouette(guidance: Tensor) -> Tensor:
    """Return where a guidance map in [-1, 1], shape (B, 1, H, W), shows a body: 0 or 1 in the same shape."""
    return (guidance > BACKGROUND + 0.02).to(guidance)


def swap_background(generated: Tensor, body: Tensor, donor: Tensor, donor_body: Tensor) -> Tensor:
    """Keep the generated person and take everything around from a donor image without its person.

    Where the donor's own person stands, the mean colour of the donor's background is put.

    Args:
        generated: Generated images, shape (B, 3, H, W).
        body: Silhouettes of the generated people, shape (B, 1, H, W).
        donor: Real images, shape (B, 3, H, W).
        donor_body: Silhouettes of the donors' people, shape (B, 1, H, W).

    Returns:
        Composites, shape (B, 3, H, W).
    """
    free = 1 - donor_body
    mean_colour = (donor * free).sum(dim=(2, 3), keepdim=True) / free.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    return body * generated + (1 - body) * (free * donor + donor_body * mean_colour)
