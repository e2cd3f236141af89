import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

from reid_core.evaluation.image_quality import colour_distance, masked_psnr, masked_ssim, stripe_colours

Bytes = NDArray[np.uint8]


def drawn(seed: int, *, height: int = 24, width: int = 16) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def middle(height: int = 24, width: int = 16) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[4:-3, 5:-4] = True
    return mask


def test_psnr_by_hand() -> None:
    # Every masked value is off by 51 = 255 / 5: 10 log10(25).
    truth = np.full((24, 16, 3), 100, dtype=np.uint8)
    assert masked_psnr(truth + np.uint8(51), truth, middle()) == pytest.approx(10 * math.log10(25))
    assert masked_psnr(truth, truth, middle()) == math.inf


def test_nothing_outside_of_the_mask_counts() -> None:
    truth, picture, mask = drawn(0), drawn(1), middle()
    elsewhere = np.where(mask[..., None], picture, drawn(2))
    assert masked_psnr(elsewhere, truth, mask) == masked_psnr(picture, truth, mask)
    assert masked_ssim(elsewhere, truth, mask) == pytest.approx(masked_ssim(picture, truth, mask), abs=1e-12)
    np.testing.assert_array_equal(stripe_colours(elsewhere, mask, 4), stripe_colours(picture, mask, 4))


def test_a_full_mask_gives_the_published_ssim() -> None:
    truth = drawn(3)
    picture = (truth * 0.7 + drawn(4) * 0.3).astype(np.uint8)
    _, similarity = structural_similarity(  # type: ignore[no-untyped-call, unused-ignore]
        truth,
        picture,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert masked_ssim(picture, truth, np.ones((24, 16), dtype=np.bool_)) == pytest.approx(similarity.mean(), abs=1e-9)


def test_ssim_of_a_mask_agrees_with_a_slow_loop() -> None:
    truth, mask = drawn(5), middle()
    picture = (truth * 0.6 + drawn(6) * 0.4).astype(np.uint8)
    radius, total, count = 5, 0.0, 0
    for row, column in zip(*np.nonzero(mask), strict=True):
        near = [
            (r, c, math.exp(-((r - row) ** 2 + (c - column) ** 2) / (2 * 1.5**2)))
            for r in range(max(0, row - radius), min(24, row + radius + 1))
            for c in range(max(0, column - radius), min(16, column + radius + 1))
            if mask[r, c]
        ]
        weights = np.array([weight for _, _, weight in near])
        weights /= weights.sum()
        for colour in range(3):
            x = np.array([float(picture[r, c, colour]) for r, c, _ in near])
            y = np.array([float(truth[r, c, colour]) for r, c, _ in near])
            mx, my = weights @ x, weights @ y
            vx, vy, cov = weights @ (x - mx) ** 2, weights @ (y - my) ** 2, weights @ ((x - mx) * (y - my))
            above = (2 * mx * my + 2.55**2) * (2 * cov + 7.65**2)
            total += above / ((mx**2 + my**2 + 2.55**2) * (vx + vy + 7.65**2))
            count += 1
    assert masked_ssim(picture, truth, mask) == pytest.approx(total / count, abs=1e-6)


def test_equal_pictures_are_structurally_equal_and_a_flat_one_is_not() -> None:
    truth, mask = drawn(7), middle()
    assert masked_ssim(truth, truth, mask) == pytest.approx(1.0)
    assert masked_ssim(np.full_like(truth, 128), truth, mask) < 0.2


def test_stripes_agree_with_a_slow_loop() -> None:
    picture, mask = drawn(8), middle()  # rows 4 to 20: 17 rows in 4 stripes
    lab, found = rgb2lab(picture), stripe_colours(picture, mask, 4)
    for stripe in range(4):
        pixels = [
            lab[row, column]
            for row in range(24)
            for column in range(16)
            if mask[row, column] and (row - 4) * 4 // 17 == stripe
        ]
        np.testing.assert_allclose(found[stripe], np.mean(pixels, axis=0))


def test_black_is_a_hundred_from_white() -> None:
    mask = middle()
    black, white = np.zeros((24, 16, 3), dtype=np.uint8), np.full((24, 16, 3), 255, dtype=np.uint8)
    black_stripes, white_stripes = stripe_colours(black, mask, 3), stripe_colours(white, mask, 3)
    assert colour_distance(black_stripes, white_stripes) == pytest.approx(100.0, abs=0.01)
    assert colour_distance(black_stripes, black_stripes) == 0.0
    # Half of the stripes differ.
    half = np.concatenate([black_stripes[:1], white_stripes[:1]])
    assert colour_distance(half, np.repeat(black_stripes[:1], 2, axis=0)) == pytest.approx(50.0, abs=0.01)


def test_distance_does_not_see_where_the_person_stands() -> None:
    picture, mask = drawn(9), middle()
    moved, moved_mask = np.roll(picture, (-2, 3), axis=(0, 1)), np.roll(mask, (-2, 3), axis=(0, 1))
    other = stripe_colours(drawn(10), mask, 6)
    here = colour_distance(stripe_colours(picture, mask, 6), other)
    assert colour_distance(stripe_colours(moved, moved_mask, 6), other) == pytest.approx(here)


def test_stripes_without_a_pixel_are_left_out() -> None:
    picture, mask = drawn(11), middle()
    mask[8:13] = False  # the second of four stripes of rows 4 to 20, and its neighbours in part
    colours = stripe_colours(picture, mask, 4)
    assert np.isnan(colours[1]).all()
    assert np.isfinite(colours[[0, 2, 3]]).all()
    other = stripe_colours(drawn(12), middle(), 4)
    kept = [0, 2, 3]
    assert colour_distance(colours, other) == pytest.approx(colour_distance(colours[kept], other[kept]))
    assert math.isnan(colour_distance(np.full((2, 3), np.nan), other[:2]))


def test_floats_and_empty_masks_are_refused() -> None:
    picture, mask = drawn(13), middle()
    with pytest.raises(AssertionError, match="hold a pixel"):
        masked_psnr(picture, picture, np.zeros_like(mask))
    with pytest.raises(AssertionError):
        masked_ssim((picture / 255).astype(np.float32), picture, mask)
