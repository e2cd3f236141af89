import pytest
import torch

from reid_core.losses.gan import r1_penalty


def test_linear_score_by_hand() -> None:
    # score = 2 x summed over 12 pixels, one patch: the gradient is 2 everywhere, its square sums to 12 * 4.
    images = torch.zeros(2, 3, 2, 2, requires_grad=True)
    scores = [(2 * images).sum(dim=(1, 2, 3), keepdim=True)]
    torch.testing.assert_close(r1_penalty(scores, images), torch.tensor([48.0, 48.0]))


def test_matches_finite_differences(generator: torch.Generator) -> None:
    weight = torch.randn(1, 3, 2, 2, generator=generator, dtype=torch.float64)
    images = torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)

    def score(pixels: torch.Tensor) -> torch.Tensor:
        return (weight * pixels.square()).sum(dim=(1, 2, 3), keepdim=True)

    penalty = r1_penalty([score(images)], images)
    step = 1e-6
    for image in range(2):
        total = 0.0
        for position in range(12):
            moved = images.detach().clone()
            moved[image].view(-1)[position] += step
            total += float(((score(moved) - score(images))[image] / step).detach()) ** 2
        assert float(penalty[image]) == pytest.approx(total, rel=1e-4)


def test_reaches_the_parameters_by_a_second_derivative() -> None:
    # score = w x: penalty = w^2 for one pixel, its derivative 2 w.
    weight = torch.tensor(3.0, requires_grad=True)
    images = torch.ones(1, 1, 1, 1, requires_grad=True)
    r1_penalty([weight * images], images).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert float(weight.grad) == 6.0


def test_images_without_gradient_are_refused() -> None:
    with pytest.raises(AssertionError, match="differentiates"):
        r1_penalty([torch.zeros(1, 1, 1, 1)], torch.zeros(1, 3, 2, 2))
