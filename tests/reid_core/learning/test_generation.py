import pytest
import torch
from torch import Tensor

from reid_core.learning.generation import adversarial_term, generate_views, generation, parameters_fixed
from reid_core.models.identity import part_appearance
from tests.reid_core.learning.networks import small_batch, small_networks


def test_views_are_what_the_equations_say(generator: torch.Generator) -> None:
    networks, batch = small_networks(), small_batch(generator, [True, False, True])
    parts = torch.randn(3, 4, 512, generator=generator)
    with torch.no_grad():
        views = generate_views(networks.generator, batch, parts, rotation=True, mixing="dmixup")
        assert views.rotated.tolist() == [0, 2]
        torch.testing.assert_close(views.reconstruction, networks.generator(batch.guidance, parts))
        torch.testing.assert_close(views.rotation, networks.generator(batch.turned[[0, 2]], parts[[0, 2]]))
        ratio = batch.mixture.ratio.view(-1, 1, 1)
        mixed = ratio * parts + (1 - ratio) * parts[batch.mixture.partner]
        assert views.mix is not None
        torch.testing.assert_close(views.mix, networks.generator(batch.guidance, mixed))


def test_terms_match_a_plain_writing_of_the_losses(generator: torch.Generator) -> None:
    networks, batch = small_networks(), small_batch(generator, [True, False, True])
    encoder = networks.encoder.eval()

    def appearance(images: Tensor, sources: tuple[Tensor, ...] = ()) -> Tensor:
        return part_appearance(encoder(images).maps.last, 4)

    with torch.no_grad():
        parts = appearance(batch.images)
        made = generation(networks.generator, appearance, batch, parts, rotation=True, mixing="none")
        rec = networks.generator(batch.guidance, parts)
        turned = networks.generator(batch.turned[[0, 2]], parts[[0, 2]])
        back = networks.generator(batch.guidance[[0, 2]], appearance(turned))
        wanted = {
            "image_reconstruction": (rec - batch.images).abs().mean(),
            "image_cycle": (back - batch.images[[0, 2]]).abs().mean(),
            "feature_reconstruction": (appearance(rec) - parts).abs().mean() / parts.abs().mean(),
            "feature_cycle": (appearance(back) - parts[[0, 2]]).abs().mean() / parts[[0, 2]].abs().mean(),
        }
    assert made.terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(made.terms[name], value, msg=name)
    torch.testing.assert_close(made.fakes, torch.cat([rec, turned, back]))


@pytest.mark.parametrize(("rotation", "has_mesh"), [(False, [True, True]), (True, [False, False])])
def test_without_mesh_or_rotation_nothing_is_turned(
    generator: torch.Generator, rotation: bool, has_mesh: list[bool]
) -> None:
    networks, batch = small_networks(), small_batch(generator, has_mesh)
    encoder = networks.encoder.eval()
    parts = part_appearance(encoder(batch.images).maps.last, 4)
    made = generation(
        networks.generator,
        lambda images, sources: part_appearance(encoder(images).maps.last, 4),
        batch,
        parts,
        rotation=rotation,
        mixing="dmixup",
    )
    assert set(made.terms) == {"image_reconstruction", "feature_reconstruction"}
    assert len(made.views.rotation) == 0
    assert len(made.fakes) == 4  # reconstructions and mixes


def test_deception_reaches_the_images_and_not_the_discriminator(generator: torch.Generator) -> None:
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
