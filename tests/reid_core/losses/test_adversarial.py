import pytest
import torch
from torch import Tensor

from reid_core.losses.gan import discriminator_loss, generator_loss


def _scores(generator: torch.Generator) -> list[Tensor]:
    return [torch.randn(3, 1, 4 // scale, 8 // scale, generator=generator) for scale in (1, 2)]


def test_values_by_hand() -> None:
    # Scores 1 and 3 on the first scale, 0 on the second.
    scores = [torch.tensor([[[[1.0, 3.0]]]]), torch.zeros(1, 1, 1, 1)]
    torch.testing.assert_close(generator_loss(scores), torch.tensor([(0 + 4) / 2 + 1.0]))
    torch.testing.assert_close(discriminator_loss(scores, real=True), torch.tensor([(0 + 4) / 2 + 1.0]))
    torch.testing.assert_close(discriminator_loss(scores, real=False), torch.tensor([(1 + 9) / 2 + 0.0]))


@pytest.mark.parametrize("real", [True, False])
def test_the_discriminators_loss_matches_a_slow_loop(generator: torch.Generator, real: bool) -> None:
    scores = _scores(generator)
    for image, loss in enumerate(discriminator_loss(scores, real=real)):
        wanted = 0.0
        for scale in scores:
            values = [float(value) for value in scale[image].flatten()]
            wanted += sum((value - real) ** 2 for value in values) / len(values)
        assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_gradients(generator: torch.Generator) -> None:
    scores = [score.double().requires_grad_() for score in _scores(generator)]
    assert torch.autograd.gradcheck(lambda *maps: generator_loss(maps), scores)
    assert torch.autograd.gradcheck(lambda *maps: discriminator_loss(maps, real=False), scores)


def test_no_scale_at_all_is_refused() -> None:
    with pytest.raises(RuntimeError):
        generator_loss([])
