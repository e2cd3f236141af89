"""One update of the generator while the identity encoder is frozen (generator warm-up), and of the discriminator.

Letters: B images of one rank, R of them turned, F generated ones, H x W pixels, P stripes, C channels.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.optim import Optimizer

from reid_core.distributed import mean_over_ranks
from reid_core.learning.generation import (
    GenerationBatch,
    adversarial_term,
    generate_views,
    reconstruction_terms,
    turn_back,
)
from reid_core.learning.mixing import MixingKind
from reid_core.learning.timer import Timer
from reid_core.learning.update import Trained, Update, update, weighted_sum
from reid_core.losses.gan import discriminator_loss, r1_penalty
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder


@dataclass(frozen=True)
class GenerationWeights:
    """Weights of the generation losses, without a unit.

    Attributes:
        image: Weight of both terms of L_img (published).
        feature: Weight of both terms of L_feat (published).
        adversarial: Weight of L_adv (published).
        r1: Weight of the discriminator's R1 penalty (published); 0 leaves it out.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    image: Annotated[float, Ge(0), Le(1000)] = 5.0
    feature: Annotated[float, Ge(0), Le(1000)] = 5.0
    adversarial: Annotated[float, Ge(0), Le(1000)] = 1.0
    r1: Annotated[float, Ge(0), Le(1000)] = 0.01

    def by_term(self) -> dict[str, float]:
        """Return the weight of every term of the generator's objective."""
        return {
            "image_reconstruction": self.image,
            "image_cycle": self.image,
            "feature_reconstruction": self.feature,
            "feature_cycle": self.feature,
            "adversarial": self.adversarial,
        }


@dataclass(frozen=True)
class GenerationSettings:
    """How a batch is varied in an epoch, and what its generation weighs.

    Attributes:
        rotation: Whether bodies are turned.
        mixing: What x_mix is.
        weights: Of the losses.
        clip_norm: Largest norm of the generator's gradient.
    """

    rotation: bool
    mixing: MixingKind
    weights: GenerationWeights
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
    """Outcome of one iteration, on the device: reading a number waits for the step.

    Attributes:
        terms: Unweighted loss terms, detached; each the rank's share of the mean over ranks.
        gradient_norms: Before clipping, by network; those of a skipped update are infinite or not numbers.
        skipped: Number of updates that were left out because of such a gradient; a scalar.
    """

    terms: dict[str, Tensor]
    gradient_norms: dict[str, Tensor]
    skipped: Tensor


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
        adversarial: Whether the generator already has to deceive the discriminator.
        discriminate: Whether the discriminator is updated in this iteration.
        timer: Counts the spans ``generator`` and ``discriminator``.

    Returns:
        Terms and norms.
    """
    encoder, generator, discriminator = networks.encoder, networks.generator, networks.discriminator
    x = batch.images

    # x_rec, x_rot and x_mix; then x_cyc, which is painted from what the encoder sees in x_rot.
    with timer.span("generator"):
        with torch.no_grad():
            part_features = generator.appearance(encoder.maps(x))  # A(x), (B, P, C)
        views = generate_views(generator, batch, part_features, rotation=settings.rotation, mixing=settings.mixing)
        seen = generator.appearance(encoder.maps(torch.cat([views.reconstruction, views.rotation])))  # (B + R, P, C)
        rec_part_features, rot_part_features = seen.tensor_split([len(x)])
        terms = reconstruction_terms("reconstruction", views.reconstruction, x, rec_part_features, part_features)
        cycle = views.rotation
        if views.num_rotated:
            cycle = turn_back(generator, views, rot_part_features)  # (R, 3, H, W)
            cyc_part_features = generator.appearance(encoder.maps(cycle))
            own = views.rotated
            terms |= reconstruction_terms("cycle", cycle, x[own], cyc_part_features, part_features[own])
        fakes = torch.cat([views.reconstruction, views.rotation, cycle, views.mix])  # (F, 3, H, W)

    # The discriminator learns to tell them from x, then the generator to deceive it.
    updates = []
    if discriminate:
        with timer.span("discriminator"):
            updates.append(
                discriminator_step(discriminator, optimisers.discriminator, x, fakes, r1_weight=settings.weights.r1)
            )
    with timer.span("generator"):
        if adversarial:
            terms["adversarial"] = adversarial_term(discriminator, fakes)
        outcome = update(
            weighted_sum(terms, settings.weights.by_term()),
            {"generator": Trained(generator, optimisers.generator, settings.clip_norm)},
        )
    return step_result((terms, outcome), *updates)


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
        Unweighted loss terms, and what became of the update.
    """
    real = images.detach().clone().requires_grad_(r1_weight > 0)
    scores = discriminator.exact(real) if r1_weight > 0 else discriminator(real)
    loss_real = mean_over_ranks(discriminator_loss(scores, real=True))
    loss_fake = mean_over_ranks(discriminator_loss(discriminator(fakes.detach()), real=False))
    terms: dict[str, Tensor] = {"discriminator": loss_real + loss_fake}
    if r1_weight > 0:
        terms["r1"] = mean_over_ranks(r1_penalty(scores, real))
    loss = weighted_sum(terms, {"discriminator": 1.0, "r1": r1_weight})
    return terms, update(loss, {"discriminator": Trained(discriminator, optimiser)})


def step_result(*updates: tuple[dict[str, Tensor], Update]) -> StepResult:
    """Put together the terms and updates of one iteration, the main one first."""
    return StepResult(
        terms={name: term.detach() for terms, _ in updates for name, term in terms.items()},
        gradient_norms={name: norm for _, outcome in updates for name, norm in outcome.gradient_norms.items()},
        skipped=torch.stack([outcome.skipped for _, outcome in updates]).sum(),
    )
