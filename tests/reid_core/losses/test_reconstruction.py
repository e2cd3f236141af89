import pytest
import torch

from reid_core.losses.reconstruction import appearance_distance, image_distance


def test_image_distance_by_hand() -> None:
    # One image differs by 0.5 everywhere, the other in one channel of three by 0.6.
    target = torch.zeros(2, 3, 2, 2)
    generated = target.clone()
    generated[0] += 0.5
    generated[1, 0] -= 0.6
    torch.testing.assert_close(image_distance(generated, target), torch.tensor([0.5, 0.2]))


def test_appearance_distance_is_relative_to_the_magnitude_of_the_target() -> None:
    # |3 - 2| = 1 for every entry, mean magnitude of the target (2 + 2) / 2 = 2.
    target = torch.full((1, 4, 5), 2.0)
    torch.testing.assert_close(appearance_distance(target + 1, target), torch.tensor([0.5]))
    torch.testing.assert_close(appearance_distance(100 * (target + 1), 100 * target), torch.tensor([0.5]))


def test_appearance_distance_matches_a_slow_loop(generator: torch.Generator) -> None:
    generated, target = torch.randn(2, 3, 4, 5, generator=generator)
    magnitude = sum(abs(float(value)) for value in target.flatten()) / target.numel()
    for row, distance in enumerate(appearance_distance(generated, target)):
        total = sum(
            abs(float(generated[row, part, channel] - target[row, part, channel]))
            for part in range(4)
            for channel in range(5)
        )
        assert float(distance) == pytest.approx(total / 20 / magnitude, rel=1e-5)


def test_no_gradient_reaches_the_target(generator: torch.Generator) -> None:
    generated, target = torch.randn(2, 3, 4, 5, generator=generator)
    generated.requires_grad_()
    target.requires_grad_()
    appearance_distance(generated, target).sum().backward()  # type: ignore[no-untyped-call]
    assert target.grad is None
    assert generated.grad is not None
    assert bool((generated.grad != 0).all())


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(AssertionError):
        image_distance(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 5))
    with pytest.raises(AssertionError):
        appearance_distance(torch.zeros(2, 4, 8), torch.zeros(2, 3, 8))
