"""How near a generated person comes to the true picture: PSNR, SSIM and colour, inside the person's mask alone.

What surrounds a person says nothing of the person, and a generator leaves it as it was; so no pixel outside of the mask
has a part in any of these figures. SSIM is our own for that reason alone: scikit-image's has no mask, and averaging its
map over the mask would let windows at the outline see the background.

Letters: H x W pixels, S stripes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Array = NDArray[np.floating[Any]]

# Of SSIM, as Wang et al. published them: "Image quality assessment: from error visibility to structural similarity",
# IEEE Transactions on Image Processing 2004, section III.
_SIGMA, _TRUNCATE = 1.5, 3.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def masked_psnr(picture: Picture, truth: Picture, mask: Mask) -> float:
    """Return the peak signal-to-noise ratio of the pixels of a mask, in decibels.

    Args:
        picture: RGB, shape (H, W, 3).
        truth: What it should be, shape (H, W, 3).
        mask: Pixels that count, at least one, shape (H, W).

    Returns:
        10 log10(255^2 / mean squared error); infinite where nothing differs.
    """
    _check(picture, truth, mask)
    with np.errstate(divide="ignore"):
        ratio = peak_signal_noise_ratio(truth[mask], picture[mask], data_range=255)  # type: ignore[no-untyped-call, unused-ignore]
    return float(ratio)


def masked_ssim(picture: Picture, truth: Picture, mask: Mask) -> float:
    """Return the structural similarity inside a mask, mean over its pixels and the three colours.

    Means, variances and covariance of a window are taken over the masked pixels of the window (normalised
    convolution), so that neither the background nor the outline, which is the same in both, adds to the figure. With
    a full mask this is SSIM as published, with Gaussian windows of deviation 1.5 pixels.

    Args:
        picture: RGB, shape (H, W, 3).
        truth: What it should be, shape (H, W, 3).
        mask: Pixels that count, at least one, shape (H, W).

    Returns:
        At most 1, for equal pictures.
    """
    _check(picture, truth, mask)
    inside = mask[..., None].astype(np.float64)
    weight = np.maximum(_blur(inside), 1e-12)

    def mean(values: Array) -> Array:
        return _blur(values * inside) / weight

    x, y = picture.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    )
    return float(similarity[mask].mean())


def stripe_colours(picture: Picture, mask: Mask, num_stripes: int) -> Array:
    """Return the mean colour of a person's horizontal stripes, from head to feet.

    Args:
        picture: RGB, shape (H, W, 3).
        mask: The person, at least one pixel, shape (H, W).
        num_stripes: S; the rows from the mask's first to its last are shared out evenly.

    Returns:
        CIELAB (D65), shape (S, 3); nan where a stripe has no pixel of the mask.
    """
    _check(picture, picture, mask)
    rows = np.flatnonzero(mask.any(axis=1))
    stripe = (np.arange(len(mask)) - rows[0]) * num_stripes // (rows[-1] + 1 - rows[0])
    of_pixel = np.broadcast_to(stripe[:, None], mask.shape)[mask]
    colours = rgb2lab(picture)[mask]  # (pixels, 3)
    count = np.bincount(of_pixel, minlength=num_stripes).astype(np.float64)
    total = np.stack([np.bincount(of_pixel, colours[:, c], minlength=num_stripes) for c in range(3)], axis=1)
    means: Array = np.full((num_stripes, 3), np.nan)
    means[count > 0] = total[count > 0] / count[count > 0, None]
    return means


def colour_distance(colours: Array, others: Array) -> float:
    """Return how different two people are coloured: the mean CIEDE2000 distance of their stripes.

    Stripes make pictures comparable that differ in outline. About 2 is just visible, black and white are 100 apart.

    Args:
        colours: CIELAB of stripes, shape (S, 3), from ``stripe_colours``.
        others: The same of the other picture.

    Returns:
        Mean over the stripes that both have; nan where they share none.
    """
    assert colours.shape == others.shape, (colours.shape, others.shape)
    both = np.isfinite(colours).all(axis=1) & np.isfinite(others).all(axis=1)
    if not both.any():
        return float("nan")
    distance: Array = deltaE_ciede2000(colours[both], others[both])  # type: ignore[no-untyped-call, unused-ignore]
    return float(distance.mean())


def _blur(values: Array) -> Array:
    blurred: Array = gaussian_filter(values, sigma=(_SIGMA, _SIGMA, 0), truncate=_TRUNCATE)
    return blurred


def _check(picture: Picture, truth: Picture, mask: Mask) -> None:
    # A picture as floats from 0 to 1 would silently get the figures of a black one.
    assert picture.dtype == truth.dtype == np.uint8, (picture.dtype, truth.dtype)
    assert picture.shape == truth.shape == (*mask.shape, 3), (picture.shape, truth.shape, mask.shape)
    assert mask.dtype == np.bool_, mask.dtype
    assert mask.any(), "the mask must hold a pixel"
