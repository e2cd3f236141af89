import pytest
import torch

from reid_core.evaluation.baselines import BINS, STRIPES, colour_histogram


def test_one_colour_by_hand() -> None:
    images = torch.zeros(1, 3, 12, 4, dtype=torch.uint8)
    images[:, 0] = 255
    features = colour_histogram(images).reshape(STRIPES, 3, BINS)
    # One full bin of every channel in every stripe, 18 of them, L2-normalised.
    expected = torch.zeros(STRIPES, 3, BINS)
    expected[:, 0, BINS - 1] = expected[:, 1, 0] = expected[:, 2, 0] = 18**-0.5
    torch.testing.assert_close(features, expected)


def test_against_a_slow_loop() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 13, 5), generator=random, dtype=torch.uint8)
    for image, features in zip(images, colour_histogram(images), strict=True):
        counts = torch.zeros(STRIPES, 3, BINS)
        for row in range(13):
            for column in range(5):
                for channel in range(3):
                    counts[row * STRIPES // 13, channel, int(image[channel, row, column]) * BINS // 256] += 1
        roots = (counts / counts.sum(dim=2, keepdim=True)).sqrt().flatten()
        torch.testing.assert_close(features, roots / roots.norm())


def test_mirrored_images_are_the_same() -> None:
    images = torch.randint(0, 256, (1, 3, 12, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.testing.assert_close(colour_histogram(images), colour_histogram(images.flip(3)))


def test_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        colour_histogram(torch.rand(1, 3, 12, 6))
