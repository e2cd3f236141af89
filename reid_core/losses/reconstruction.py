"""Distance of a generated image from the image it should be: in pixels (L_img) and in part appearance (L_feat).

Letters: B images, H x W pixels, P parts, C channels.
"""

from torch import Tensor


def image_distance(generated: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of pixels: a term of L_img.

    Args:
        generated: Shape (B, 3, H, W).
        target: Shape (B, 3, H, W).

    Returns:
        Distance of every image, shape (B,).
    """
    assert generated.shape == target.shape, (generated.shape, target.shape)
    return (generated - target).abs().mean(dim=(1, 2, 3))


def appearance_distance(generated: Tensor, target: Tensor, *, magnitude: Tensor | None = None) -> Tensor:
    """Mean absolute difference of part features, relative to the target's magnitude: a term of L_feat.

    The target is a constant (stop gradient): otherwise the encoder would shrink its features to please the loss.
    Encoders differ in the scale of their features by orders of magnitude, hence the division.

    Args:
        generated: Shape (B, P, C).
        target: Shape (B, P, C).
        magnitude: Mean magnitude of the targets of all ranks, a scalar; this rank's own when None.

    Returns:
        Distance of every image in units of the batch's mean magnitude, shape (B,).
    """
    assert generated.shape == target.shape, (generated.shape, target.shape)
    target = target.detach()
    magnitude = target.abs().mean() if magnitude is None else magnitude.detach()
    return (generated - target).abs().mean(dim=(1, 2)) / magnitude.clamp_min(1e-6)
