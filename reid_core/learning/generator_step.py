"""One update of the generator while the identity encoder is frozen (generator warm-up).

Letters: B images, H x W pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from reid_core.learning.discriminator_step import discriminator_step
from reid_core.learning.distributed import average_gradients
from reid_core.learning.generation import GenerationBatch, deception, generation
from reid_core.learning.mixing import MixingKind
from reid_core.losses.objective import weighted_sum
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder, part_appearance


@dataclass(frozen=True)
class GenerationSettings:
    """How a batch is varied and what its generation weighs.

    Attributes:
        rotation: Whether bodies are turned.
        mixing: What x_mix is.
        weights: Weight of every term by name.
        r1_weight: Weight of the discriminator's gradient penalty.
        clip_norm: Largest norm of the generator's gradient.
    """

    rotation: bool
    mixing: MixingKind
    weights: Mapping[str, float]
    r1_weight: float
    clip_norm: float


@dataclass(frozen=True)
class Networks:
    """The three networks, on one device."""

    encoder: IdentityEncoder
    generator: Generator
    discriminator: Discriminator


@dataclass(frozen=True)
class Optimisers:
    """One optimiser a network; the encoder has none while it is frozen."""

    encoder: Optimizer | None
    generator: Optimizer
    discriminator: Optimizer


def generator_step(
    networks: Networks,
    optimisers: Optimisers,
    batch: GenerationBatch,
    settings: GenerationSettings,
    *,
    adversarial: bool,
    discriminate: bool,
) -> dict[str, Tensor]:
    """Update the discriminator (when asked), then S and G; the encoder stays as it is.

    Args:
        networks: Encoder frozen, in evaluation mode.
        optimisers: Of generator and discriminator.
        batch: Images and guidance, B of them.
        settings: Switches and weights.
        adversarial: Whether the generator already has to deceive the discriminator.
        discriminate: Whether the discriminator is updated in this iteration.

    Returns:
        Unweighted loss terms, detached.
    """
    encoder, generator, discriminator = networks.encoder, networks.generator, networks.discriminator

    def appearance(images: Tensor) -> Tensor:
        return part_appearance(encoder(images).feature_map, generator.num_parts)

    with torch.no_grad():
        parts = appearance(batch.images)
    made = generation(generator, appearance, batch, parts, rotation=settings.rotation, mixing=settings.mixing)
    terms, judged = dict(made.terms), {}
    if discriminate:
        judged = discriminator_step(
            discriminator, optimisers.discriminator, batch.images, made.fakes, r1_weight=settings.r1_weight
        )
    if adversarial:
        terms["adversarial"] = deception(discriminator, made.fakes)
    optimisers.generator.zero_grad(set_to_none=True)
    weighted_sum(terms, settings.weights).backward()  # type: ignore[no-untyped-call]
    average_gradients(generator.parameters())
    clip_grad_norm_(generator.parameters(), settings.clip_norm)
    optimisers.generator.step()
    return {name: term.detach() for name, term in (terms | judged).items()}
