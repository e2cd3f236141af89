import pytest
import torch

from reid_core.learning.generator_step import discriminator_step
from reid_core.models.discriminator import Discriminator
from reid_core.seeds import initialised


@pytest.fixture
def judge() -> Discriminator:
    return initialised(lambda: Discriminator(4), 0)


def _images(seed: int, *, shift: float = 0.0) -> torch.Tensor:
    return torch.rand(4, 3, 32, 16, generator=torch.Generator().manual_seed(seed)) * 0.5 + shift


def test_a_blind_discriminator_loses_one_a_scale_on_real_images_alone(judge: Discriminator) -> None:
    # All scores 0, on two scales: (0 - 1)^2 for real images plus (0 - 0)^2 for generated ones; no slope to punish.
    for parameter in judge.parameters():
        parameter.data.zero_()
    terms, _ = discriminator_step(
        judge, torch.optim.SGD(judge.parameters(), 0.0), _images(0), _images(1), r1_weight=1.0
    )
    torch.testing.assert_close(terms["discriminator"], torch.tensor(2.0))
    torch.testing.assert_close(terms["r1"], torch.tensor(0.0))


def test_it_learns_to_tell_bright_from_dark(judge: Discriminator) -> None:
    optimiser = torch.optim.Adam(judge.parameters(), 1e-2)
    real, fakes = _images(0, shift=0.4), _images(1, shift=-0.9)
    losses = [
        float(discriminator_step(judge, optimiser, real, fakes, r1_weight=0.01)[0]["discriminator"]) for _ in range(30)
    ]
    assert losses[-1] < 0.3 * losses[0]


def test_generated_images_get_no_gradient_and_real_ones_stay_as_they_are(judge: Discriminator) -> None:
    real, fakes = _images(0), _images(1).requires_grad_()
    before = real.clone()
    discriminator_step(judge, torch.optim.SGD(judge.parameters(), 0.1), real, fakes, r1_weight=1.0)
    assert fakes.grad is None
    assert not real.requires_grad
    assert torch.equal(real, before)


def test_without_weight_the_penalty_is_not_computed(judge: Discriminator) -> None:
    optimiser = torch.optim.SGD(judge.parameters(), 0.1)
    terms, _ = discriminator_step(judge, optimiser, _images(0), _images(1), r1_weight=0.0)
    assert set(terms) == {"discriminator"}
