import pytest
import torch

from reid_core.learning.mixing import Mixture, blend, draw_mixture, image_mixup, mixed_code

MIXTURE = Mixture(partner=torch.tensor([1, 0]), ratio=torch.tensor([0.75, 1.0]))


def test_blend_by_hand() -> None:
    blended = blend(torch.ones(2, 1, 2), torch.zeros(2, 1, 2), torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(blended, torch.tensor([[[0.25, 0.25]], [[1.0, 1.0]]]))


def test_dmixup_mixes_appearance_and_never_structure(generator: torch.Generator) -> None:
    structure, parts = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 4, 5, generator=generator)
    mixed_structure, mixed_parts = mixed_code("dmixup", structure, parts, MIXTURE)
    assert torch.equal(mixed_structure, structure)
    torch.testing.assert_close(mixed_parts[0], 0.75 * parts[0] + 0.25 * parts[1])
    assert torch.equal(mixed_parts[1], parts[1])


def test_fmixup_mixes_both(generator: torch.Generator) -> None:
    structure, parts = torch.randn(2, 3, 4, 4, generator=generator), torch.randn(2, 4, 5, generator=generator)
    mixed_structure, mixed_parts = mixed_code("fmixup", structure, parts, MIXTURE)
    torch.testing.assert_close(mixed_structure[0], 0.75 * structure[0] + 0.25 * structure[1])
    torch.testing.assert_close(mixed_parts[0], 0.75 * parts[0] + 0.25 * parts[1])


def test_image_mixup_mixes_pixels() -> None:
    images = torch.stack([torch.ones(3, 2, 2), -torch.ones(3, 2, 2)])
    torch.testing.assert_close(image_mixup(images, MIXTURE)[0], torch.full((3, 2, 2), 0.5))


def test_draws_follow_the_beta_distribution_folded_at_one_half(generator: torch.Generator) -> None:
    mixture = draw_mixture(20000, alpha=0.6, generator=generator)
    assert float(mixture.ratio.min()) >= 0.5
    assert float(mixture.ratio.max()) <= 1.0
    assert torch.equal(mixture.partner.sort().values, torch.arange(20000))
    # Var of Beta(a, a) = 1 / (4 (2 a + 1)), unchanged as a second moment about one half by the folding.
    assert float((mixture.ratio - 0.5).square().mean()) == pytest.approx(1 / (4 * 2.2), rel=0.03)


def test_draws_depend_on_the_generator_alone() -> None:
    first, second = (draw_mixture(8, alpha=0.6, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.ratio, second.ratio)
    assert torch.equal(first.partner, second.partner)


def test_kinds_that_generate_nothing_are_refused() -> None:
    with pytest.raises(AssertionError):
        mixed_code("image", torch.zeros(2, 1, 1, 1), torch.zeros(2, 4, 1), MIXTURE)
