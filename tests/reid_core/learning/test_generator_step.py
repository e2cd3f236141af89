import copy

import torch
from torch import nn

from reid_core.learning.generator_step import discriminator_step, generator_step
from reid_core.learning.timer import Timer
from reid_core.models.identity import part_appearance
from tests.reid_core.learning.networks import optimisers_of, settings, small_batch, small_networks


def _changed(before: nn.Module, after: nn.Module) -> bool:
    pairs = zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    return any(not torch.equal(old, new) for old, new in pairs)


def test_the_discriminator_step_leaves_the_generator_alone(generator: torch.Generator) -> None:
    networks = small_networks()
    optimisers = optimisers_of(networks, with_encoder=False)
    before = copy.deepcopy(networks)
    fakes = networks.generator(torch.zeros(2, 1, 64, 32), torch.randn(2, 4, 512, generator=generator))
    images = torch.rand(2, 3, 64, 32, generator=generator)
    terms, _ = discriminator_step(networks.discriminator, optimisers.discriminator, images, fakes, r1_weight=0.01)
    assert set(terms) == {"discriminator", "r1"}
    assert _changed(before.discriminator, networks.discriminator)
    assert not _changed(before.generator, networks.generator)
    assert all(parameter.grad is None for parameter in networks.generator.parameters())


def test_the_generator_step_leaves_the_encoder_alone(generator: torch.Generator) -> None:
    networks = small_networks()
    networks.encoder.eval().requires_grad_(False)
    before = copy.deepcopy(networks)
    terms = generator_step(
        networks,
        optimisers_of(networks, with_encoder=False),
        small_batch(generator, [True, True]),
        settings(),
        adversarial=True,
        discriminate=False,
        timer=Timer(),
    ).terms
    assert {"image_cycle", "feature_cycle", "adversarial"} <= set(terms)
    assert _changed(before.generator, networks.generator)
    assert not _changed(before.encoder, networks.encoder)
    assert not _changed(before.discriminator, networks.discriminator)


def test_steps_reduce_the_reconstruction_loss(generator: torch.Generator) -> None:
    networks = small_networks()
    networks.encoder.eval().requires_grad_(False)
    optimisers = optimisers_of(networks, with_encoder=False)
    batch = small_batch(generator, [True, True])._replace(images=torch.full((2, 3, 64, 32), 0.5))
    losses = [
        float(
            generator_step(
                networks, optimisers, batch, settings(), adversarial=False, discriminate=False, timer=Timer()
            ).terms["image_reconstruction"]
        )
        for _ in range(25)
    ]
    assert losses[-1] < 0.9 * losses[0]


def test_terms_match_a_plain_writing_of_the_losses(generator: torch.Generator) -> None:
    networks, batch = small_networks(), small_batch(generator, [True, False, True])
    encoder, paint = networks.encoder.eval().requires_grad_(False), networks.generator
    x, own = batch.images, [0, 2]  # those with a mesh

    def appearance(images: torch.Tensor) -> torch.Tensor:
        return part_appearance(encoder(images).maps.last, 4)

    with torch.no_grad():
        a = appearance(x)
        x_rec, x_rot = paint(batch.guidance, a), paint(batch.turned_guidance[own], a[own])
        x_cyc = paint(batch.guidance[own], appearance(x_rot))
        wanted = {
            "image_reconstruction": (x_rec - x).abs().mean(),
            "image_cycle": (x_cyc - x[own]).abs().mean(),
            "feature_reconstruction": (appearance(x_rec) - a).abs().mean() / a.abs().mean(),
            "feature_cycle": (appearance(x_cyc) - a[own]).abs().mean() / a[own].abs().mean(),
        }
    terms = generator_step(
        networks,
        optimisers_of(networks, with_encoder=False),
        batch,
        settings(mixing="none"),
        adversarial=False,
        discriminate=False,
        timer=Timer(),
    ).terms
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, msg=name)
