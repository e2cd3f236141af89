"""One update of joint training: contrast and generation together (section 3.6 of the paper).

Letters: B images, V views, H x W pixels, D embedding.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from reid_core.learning.background import silhouette, swap_background
from reid_core.learning.batch_statistics import running_statistics_kept
from reid_core.learning.contrast import Draws, Pool, mixing_contrast, rotation_contrast
from reid_core.learning.discriminator_step import discriminator_step
from reid_core.learning.distributed import average_gradients
from reid_core.learning.generation import GenerationBatch, Views, deception, generate_views, generation
from reid_core.learning.generator_step import GenerationSettings, Networks, Optimisers
from reid_core.learning.mixing import image_mixup
from reid_core.losses.objective import weighted_sum
from reid_core.models.identity import part_appearance


@dataclass(frozen=True)
class ContrastSettings:
    """How the varied images are contrasted.

    Attributes:
        weights: Weight of ``rotation_contrast`` and ``mixing_contrast``.
        temperature: Softmax temperature.
        swap_background: Whether turned people are put in front of other images' backgrounds.
        trains_generator: Whether contrast also trains S and G, through the generated images.
    """

    weights: dict[str, float]
    temperature: float
    swap_background: bool
    trains_generator: bool


class JointBatch(NamedTuple):
    """What one iteration of joint training reads.

    Attributes:
        generation: Images, guidance and mixture, B of them.
        classical: Classically augmented images to use as views, shape (B, 3, H, W), or None.
        rows: Memory row of every image, shape (B,).
        pool: Memory, labels and prototypes.
        draws: Positives and negatives of every image.
    """

    generation: GenerationBatch
    classical: Tensor | None
    rows: Tensor
    pool: Pool
    draws: Draws


class JointResult(NamedTuple):
    """What one iteration gives.

    Attributes:
        terms: Unweighted loss terms, detached.
        features: f(x), L2-normalised, detached, for the memory; shape (B, D).
    """

    terms: dict[str, Tensor]
    features: Tensor


def joint_step(
    networks: Networks,
    optimisers: Optimisers,
    batch: JointBatch,
    how: GenerationSettings,
    contrast: ContrastSettings,
    *,
    train_generator: bool,
    discriminate: bool,
) -> JointResult:
    """Update encoder, S and G by contrast and generation, and the discriminator apart.

    Generated images pass the encoder as batches of their own, and its running statistics stay those of real images.

    Args:
        networks: All three in training mode.
        optimisers: Of all three.
        batch: What to learn from.
        how: Switches and weights of generation.
        contrast: Settings of contrast.
        train_generator: Whether generation losses are computed; otherwise the generator only makes views.
        discriminate: Whether the discriminator is updated in this iteration (only with ``train_generator``).

    Returns:
        Terms and features.
    """
    encoder, generator, discriminator = networks.encoder, networks.generator, networks.discriminator
    images, mixture = batch.generation.images, batch.generation.mixture
    encoded = encoder(images)
    features = F.normalize(encoded.embedding, dim=1)
    parts = part_appearance(encoded.feature_map, generator.num_parts)

    def appearance(generated: Tensor) -> Tensor:
        with running_statistics_kept(encoder):
            return part_appearance(encoder(generated).feature_map, generator.num_parts)

    terms: dict[str, Tensor] = {}
    judged: dict[str, Tensor] = {}
    views: Views | None = None
    if train_generator:
        made = generation(generator, appearance, batch.generation, parts, rotation=how.rotation, mixing=how.mixing)
        views = made.views
        terms |= made.terms
        if discriminate:
            judged = discriminator_step(
                discriminator, optimisers.discriminator, images, made.fakes, r1_weight=how.r1_weight
            )
        terms["adversarial"] = deception(discriminator, made.fakes)
    elif how.rotation or how.mixing in ("dmixup", "fmixup"):
        with torch.no_grad():
            views = generate_views(
                generator, batch.generation, parts.detach(), rotation=how.rotation, mixing=how.mixing
            )

    viewed, view_images = _views(batch, views, contrast)
    mixes = image_mixup(images, mixture) if how.mixing == "image" else views.mix if views is not None else None
    shown = torch.cat([view_images] if mixes is None else [view_images, mixes])
    if not contrast.trains_generator:
        shown = shown.detach()
    if len(shown):
        with running_statistics_kept(encoder):
            seen = F.normalize(encoder(shown).embedding, dim=1)
    else:
        seen = features[:0]
    terms["rotation_contrast"] = rotation_contrast(
        features, seen[: len(viewed)], viewed, batch.rows, batch.pool, batch.draws, contrast.temperature
    )
    if mixes is not None:
        terms["mixing_contrast"] = mixing_contrast(
            features, seen[len(viewed) :], batch.rows, mixture, batch.pool, contrast.temperature
        )

    _update(networks, optimisers, weighted_sum(terms, {**how.weights, **contrast.weights}), how.clip_norm)
    return JointResult({name: term.detach() for name, term in (terms | judged).items()}, features.detach())


def _views(batch: JointBatch, views: Views | None, contrast: ContrastSettings) -> tuple[Tensor, Tensor]:
    """Return which images have another view, shape (V,), and the views, shape (V, 3, H, W)."""
    source = batch.generation
    viewed = torch.empty(0, dtype=torch.long, device=source.images.device)
    images = source.images[:0]
    if views is not None and len(views.rotated):
        viewed, images = views.rotated, views.rotation
        if contrast.swap_background:
            donors = viewed.roll(1)
            images = swap_background(
                images,
                silhouette(source.turned[viewed]),
                source.images[donors],
                silhouette(source.guidance[donors]),
            )
    if batch.classical is not None:
        everyone = torch.arange(len(source.images), device=viewed.device)
        viewed, images = torch.cat([viewed, everyone]), torch.cat([images, batch.classical])
    return viewed, images


def _update(networks: Networks, optimisers: Optimisers, loss: Tensor, clip_norm: float) -> None:
    assert optimisers.encoder is not None, "joint training trains the encoder"
    optimisers.encoder.zero_grad(set_to_none=True)
    optimisers.generator.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    average_gradients(networks.encoder.parameters())
    optimisers.encoder.step()
    if any(parameter.grad is not None for parameter in networks.generator.parameters()):
        average_gradients(networks.generator.parameters())
        clip_grad_norm_(networks.generator.parameters(), clip_norm)
        optimisers.generator.step()
