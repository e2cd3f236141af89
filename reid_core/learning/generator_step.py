"""One update of the generator while the identity encoder is frozen (generator warm-up).

Letters: B images, H x W pixels.

One update of the discriminator.

Letters: B real images, F generated ones, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from reid_core.distributed import mean_over_ranks
from reid_core.learning.generation import GenerationBatch, adversarial_term, generation
from reid_core.learning.mixing import MixingKind
from reid_core.learning.timer import Timer
from reid_core.learning.update import Trained, Update, update, weighted_sum
from reid_core.losses.gan import discriminator_loss, r1_penalty
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder


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


class StepResult(NamedTuple):
    """What one iteration gives.

    Attributes:
        terms: Unweighted loss terms, detached; each the rank's share of the mean over ranks.
        gradient_norms: Before clipping, by network; those of a skipped update are infinite or not numbers.
        skipped: Updates that were left out because of such a gradient.
    """

    terms: dict[str, Tensor]
    gradient_norms: dict[str, Tensor]
    skipped: int


def generator_step(
    networks: Networks,
    optimisers: Optimisers,
    batch: GenerationBatch,
    settings: GenerationSettings,
    *,
    adversarial: bool,
    discriminate: bool,
    timer: Timer,
) -> StepResult:
    """Update the discriminator (when asked), then S and G; the encoder stays as it is.

    Args:
        networks: Encoder frozen, in evaluation mode.
        optimisers: Of generator and discriminator.
        batch: Images and guidance, B of them.
        settings: Switches and weights.
        adversarial: Whether the generator already has to generator_loss the discriminator.
        discriminate: Whether the discriminator is updated in this iteration.
        timer: Counts the parts ``generator`` and ``discriminator``.

    Returns:
        Terms and norms.
    """
    encoder, generator, discriminator = networks.encoder, networks.generator, networks.discriminator

    def appearance(images: Tensor, sources: tuple[Tensor, ...]) -> Tensor:
        return generator.appearance(encoder.maps(images))

    with timer.part("generator"):
        with torch.no_grad():
            parts = appearance(batch.images, ())
        made = generation(generator, appearance, batch, parts, rotation=settings.rotation, mixing=settings.mixing)
    terms = dict(made.terms)
    outcomes = []
    if discriminate:
        with timer.part("discriminator"):
            judged, outcome = discriminator_step(
                discriminator, optimisers.discriminator, batch.images, made.fakes, r1_weight=settings.r1_weight
            )
        outcomes.append((judged, outcome))
    with timer.part("generator"):
        if adversarial:
            terms["adversarial"] = adversarial_term(discriminator, made.fakes)
        outcome = update(
            weighted_sum(terms, settings.weights),
            {"generator": Trained(generator, optimisers.generator, settings.clip_norm)},
        )
    return step_result([(terms, outcome), *outcomes])


def step_result(outcomes: Sequence[tuple[dict[str, Tensor], Update]]) -> StepResult:
    """Put together what the updates of one iteration gave, the main one first."""
    return StepResult(
        terms={name: term.detach() for terms, _ in outcomes for name, term in terms.items()},
        gradient_norms={name: norm for _, outcome in outcomes for name, norm in outcome.gradient_norms.items()},
        skipped=sum(outcome.skipped for _, outcome in outcomes),
    )


def discriminator_step(
    discriminator: Discriminator, optimiser: Optimizer, images: Tensor, fakes: Tensor, *, r1_weight: float
) -> tuple[dict[str, Tensor], Update]:
    """Update the discriminator alone: generated images are constants here, the generator is left as it is.

    Args:
        discriminator: Dis, updated in place.
        optimiser: Of the discriminator.
        images: Real images, shape (B, 3, H, W).
        fakes: Generated images, shape (F, 3, H, W).
        r1_weight: Weight of the gradient penalty; 0 leaves it out.

    Returns:
        Unweighted loss terms, detached; and what became of the update.
    """
    real = images.detach().clone().requires_grad_(r1_weight > 0)
    scores = discriminator.exact(real) if r1_weight > 0 else discriminator(real)
    judged_real = mean_over_ranks(discriminator_loss(scores, real=True))
    judged_fake = mean_over_ranks(discriminator_loss(discriminator(fakes.detach()), real=False))
    terms: dict[str, Tensor] = {"discriminator": judged_real + judged_fake}
    if r1_weight > 0:
        terms["r1"] = mean_over_ranks(r1_penalty(scores, real))
    loss = weighted_sum(terms, {"discriminator": 1.0, "r1": r1_weight})
    outcome = update(loss, {"discriminator": Trained(discriminator, optimiser)})
    return {name: term.detach() for name, term in terms.items()}, outcome
