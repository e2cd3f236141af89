"""Small networks and batches for the tests of learning steps."""

import torch

from reid_core.learning.generation import GenerationBatch
from reid_core.learning.generator_step import GenerationSettings, Networks, Optimisers
from reid_core.learning.mixing import MixingKind, draw_mixture
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from reid_core.seeds import initialised

WEIGHTS = {
    "image_reconstruction": 5.0,
    "image_cycle": 5.0,
    "feature_reconstruction": 5.0,
    "feature_cycle": 5.0,
    "adversarial": 1.0,
}


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
        turned=torch.rand(count, 1, 64, 32, generator=generator) * 2 - 1,
        has_mesh=torch.tensor(has_mesh),
        mixture=draw_mixture(count, alpha=0.6, generator=generator),
    )


def settings(*, rotation: bool = True, mixing: MixingKind = "dmixup") -> GenerationSettings:
    """Return the published weights."""
    return GenerationSettings(rotation=rotation, mixing=mixing, weights=WEIGHTS, r1_weight=0.01, clip_norm=5.0)
