from dataclasses import replace

import torch

from reid_core.data.augment import Augmentation, augment, draw_augmentation

OFF = Augmentation(flip_probability=0.0, pad=0, erase_probability=0.0, jitter=0.0)


def drawn(images: torch.Tensor, how: Augmentation, generator: torch.Generator) -> torch.Tensor:
    return augment(images, how, draw_augmentation(len(images), how, generator=generator))


def _images(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(6, 3, 16, 8, generator=generator) * 2 - 1


def test_everything_off_changes_nothing(generator: torch.Generator) -> None:
    images = _images(generator)
    assert torch.equal(drawn(images, OFF, generator), images)


def test_flip_mirrors(generator: torch.Generator) -> None:
    images = _images(generator)
    assert torch.equal(drawn(images, replace(OFF, flip_probability=1.0), generator), images.flip(3))


def test_crops_are_windows_of_the_padded_image(generator: torch.Generator) -> None:
    images = _images(generator)
    cropped = drawn(images, replace(OFF, pad=2), generator)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    for image in range(6):
        windows = [padded[image, :, top : top + 16, left : left + 8] for top in range(5) for left in range(5)]
        assert any(torch.equal(cropped[image], window) for window in windows)


def test_erasing_fills_one_rectangle_with_the_mean_colour(generator: torch.Generator) -> None:
    images = torch.ones(20, 3, 32, 16)
    erased = drawn(images, replace(OFF, erase_probability=1.0), generator)
    for image in erased:
        gone = (image == 0).all(dim=0)
        assert 0.01 < float(gone.float().mean()) < 0.5
        rows, columns = gone.any(dim=1), gone.any(dim=0)
        assert int(gone.sum()) == int(rows.sum()) * int(columns.sum())  # a full rectangle
        assert bool((image[:, ~gone] == 1).all())


def test_jitter_keeps_the_range_and_changes_images_on_their_own(generator: torch.Generator) -> None:
    images = torch.zeros(4, 3, 8, 4)
    changed = drawn(images, replace(OFF, jitter=0.5), generator)
    assert float(changed.abs().max()) <= 1
    assert len(torch.unique(changed[:, 0, 0, 0])) == 4


def test_the_same_generator_gives_the_same_images() -> None:
    images = _images(torch.Generator().manual_seed(0))
    how = Augmentation(jitter=0.3, pad=2)
    first, second = (drawn(images, how, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_part_of_a_batch_is_augmented_as_in_the_whole(generator: torch.Generator) -> None:
    images = _images(generator)
    how = Augmentation(pad=2, jitter=0.3)
    draws = draw_augmentation(6, how, generator=generator)
    rows = slice(1, None, 2)
    torch.testing.assert_close(augment(images[rows], how, draws.of(rows)), augment(images, how, draws)[rows])
