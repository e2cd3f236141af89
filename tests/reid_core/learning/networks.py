"""Small networks and batches for the tests of learning steps."""

import torch
from torch import Tensor

from reid_core.learning.generation import GenerationBatch, Turnable
from reid_core.learning.generator_step import GenerationSettings, GenerationWeights, Networks, Optimisers
from reid_core.learning.memory import draw_negatives, draw_positives
from reid_core.learning.mixing import MixingKind, draw_mixture
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from reid_core.seeds import initialised


def small_networks() -> Networks:
    """Return untrained networks, the same each time."""
    return Networks(
        initialised(lambda: IdentityEncoder("resnet10"), 0),
        initialised(lambda: Generator(8, part_dim=512, num_blocks=1, norm="none"), 0),
        initialised(lambda: Discriminator(4), 0),
    )


def optimisers_of(networks: Networks, *, with_encoder: bool) -> Optimisers:
    """Return plain gradient descent on every network."""
    return Optimisers(
        torch.optim.SGD([p for p in networks.encoder.parameters() if p.requires_grad], lr=1e-3)
        if with_encoder
        else None,
        torch.optim.SGD(networks.generator.parameters(), lr=1e-3),
        torch.optim.SGD(networks.discriminator.parameters(), lr=1e-3),
    )


def small_batch(generator: torch.Generator, has_mesh: list[bool]) -> GenerationBatch:
    """Return random images with random guidance."""
    count = len(has_mesh)
    return GenerationBatch(
        images=torch.rand(count, 3, 64, 32, generator=generator) * 2 - 1,
        guidance=torch.rand(count, 1, 64, 32, generator=generator) * 2 - 1,
        turned_guidance=torch.rand(count, 1, 64, 32, generator=generator) * 2 - 1,
        turnable=Turnable.among(torch.tensor(has_mesh)),
        mixture=draw_mixture(count, alpha=0.6, generator=generator),
    )


def settings(
    *, rotation: bool = True, mixing: MixingKind = "dmixup", weights: GenerationWeights | None = None
) -> GenerationSettings:
    """Return the published weights, or others."""
    return GenerationSettings(rotation=rotation, mixing=mixing, weights=weights or GenerationWeights(), clip_norm=5.0)


def draw_contrast(
    labels: Tensor, indices: Tensor, *, num_negatives: int, generator: torch.Generator, cameras: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return positives and negatives of a batch."""
    positives = draw_positives(labels, indices, generator=generator, cameras=cameras)
    return positives, draw_negatives(labels, indices, most=num_negatives, generator=generator)
