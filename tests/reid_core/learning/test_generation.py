import pytest
import torch

from reid_core.learning.generation import Turnable, adversarial_term, generate_views, parameters_fixed
from tests.reid_core.learning.networks import small_batch, small_networks


def test_views_are_what_the_equations_say(generator: torch.Generator) -> None:
    networks, batch = small_networks(), small_batch(generator, [True, False, True])
    part_features = torch.randn(3, 4, 512, generator=generator)
    with torch.no_grad():
        views = generate_views(networks.generator, batch, part_features, rotation=True, mixing="dmixup")
        assert views.rotated.tolist() == [0, 2]
        torch.testing.assert_close(views.reconstruction, networks.generator(batch.guidance, part_features))
        torch.testing.assert_close(
            views.rotation, networks.generator(batch.turned_guidance[[0, 2]], part_features[[0, 2]])
        )
        ratio = batch.mixture.ratio.view(-1, 1, 1)
        mixed = ratio * part_features + (1 - ratio) * part_features[batch.mixture.partner]
        torch.testing.assert_close(views.mix, networks.generator(batch.guidance, mixed))


@pytest.mark.parametrize(("rotation", "has_mesh"), [(False, [True, True]), (True, [False, False])])
def test_without_mesh_or_rotation_nothing_is_turned(
    generator: torch.Generator, rotation: bool, has_mesh: list[bool]
) -> None:
    networks, batch = small_networks(), small_batch(generator, has_mesh)
    part_features = torch.randn(2, 4, 512, generator=generator)
    views = generate_views(networks.generator, batch, part_features, rotation=rotation, mixing="dmixup")
    assert (len(views.rotation), views.num_rotated) == (0, 0)
    assert (len(views.reconstruction), len(views.mix)) == (2, 2)


def test_what_is_not_mixed_by_the_generator_has_no_mixes(generator: torch.Generator) -> None:
    networks, batch = small_networks(), small_batch(generator, [True, True])
    views = generate_views(networks.generator, batch, torch.randn(2, 4, 512), rotation=True, mixing="image")
    assert views.mix.shape == (0, 3, 64, 32)


def test_each_has_the_background_of_the_one_before_it_among_all_with_a_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    has_mesh = torch.tensor([True, False, True, True])
    alone = Turnable.among(has_mesh)
    assert (alone.positions.tolist(), alone.donors.tolist(), alone.total) == ([0, 2, 3], [3, 0, 2], 3)
    monkeypatch.setattr("reid_core.distributed.world", lambda: (1, 2))  # the images 1 and 3
    second = Turnable.among(has_mesh)
    assert (second.positions.tolist(), second.donors.tolist(), second.total) == ([1], [2], 3)


def test_the_adversarial_term_reaches_the_images_and_not_the_discriminator(generator: torch.Generator) -> None:
    networks = small_networks()
    fakes = torch.rand(2, 3, 64, 32, generator=generator, requires_grad=True)
    adversarial_term(networks.discriminator, fakes).backward()  # type: ignore[no-untyped-call]
    assert fakes.grad is not None
    assert float(fakes.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in networks.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in networks.discriminator.parameters())


def test_parameters_that_were_frozen_stay_frozen() -> None:
    encoder = small_networks().encoder
    with parameters_fixed(encoder):
        assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.neck.bias.requires_grad
    assert encoder.neck.weight.requires_grad
