"""One update of joint training: contrast and generation together (section 3.6 of the paper).

Letters: B images, V views, H x W pixels, D embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from reid_core.distributed import count_over_ranks, gather_batch, world
from reid_core.learning.generated_encoder import BatchNormGroups, running_statistics_kept
from reid_core.learning.generation import (
    GenerationBatch,
    Views,
    adversarial_term,
    generate_views,
    measure,
    silhouette,
    swap_background,
)
from reid_core.learning.generator_step import (
    GenerationSettings,
    Networks,
    Optimisers,
    StepResult,
    discriminator_step,
    step_result,
)
from reid_core.learning.mixing import MixingKind, image_mixup
from reid_core.learning.timer import Timer
from reid_core.learning.update import Trained, update, weighted_sum
from reid_core.losses.contrastive import Draws, Pool, mixing_contrast, rotation_contrast
from reid_core.models.identity import Encoded

EncoderPasses = Literal["by_loss", "by_kind", "together"]


@dataclass(frozen=True)
class ContrastSettings:
    """How the varied images are contrasted.

    Attributes:
        weights: Weight of ``rotation_contrast`` and ``mixing_contrast``.
        temperature: Softmax temperature.
        swap_background: Whether turned people are put in front of other images' backgrounds.
        trains_generator: Whether contrast also trains S and G, through the generated images.
        encoder_passes: Which generated images pass the encoder as one batch: those of one loss, so that rotations pass
            twice; those of one kind, once for both losses, as the equations stand; or all of them together. The
            choice decides batch statistics. Where contrast looks at other images than generation does (other
            backgrounds, classical views, mixed pixels, or no gradient to the generator), they pass by loss.
    """

    weights: dict[str, float]
    temperature: float
    swap_background: bool
    trains_generator: bool
    encoder_passes: EncoderPasses = "by_kind"


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
        step: Terms, norms and skipped updates.
        features: f(x), L2-normalised, detached, for the memory, shape (B, D); None when the update was skipped.
    """

    step: StepResult
    features: Tensor | None


def joint_step(
    networks: Networks,
    optimisers: Optimisers,
    batch: JointBatch,
    how: GenerationSettings,
    contrast: ContrastSettings,
    *,
    train_generator: bool,
    discriminate: bool,
    groups: BatchNormGroups,
    timer: Timer,
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
        groups: Of the encoder's batch norm.
        timer: Counts the parts ``encoder``, ``generator``, ``discriminator``, ``contrast`` and ``update``.

    Returns:
        Terms, norms and features.
    """
    encoder, generator, discriminator = networks.encoder, networks.generator, networks.discriminator
    images = batch.generation.images
    everyone = torch.arange(len(images), device=images.device)

    def encode(generated: Tensor, sources: tuple[Tensor, ...]) -> Encoded:
        with running_statistics_kept(encoder), groups.of(*sources):
            return encoder(generated)  # type: ignore[no-any-return]

    def appearance(generated: Tensor, sources: tuple[Tensor, ...]) -> Tensor:
        with running_statistics_kept(encoder), groups.of(*sources):
            return generator.appearance(encoder.maps(generated))

    with timer.part("encoder"), groups.of(everyone):
        encoded = encoder(images)
        features = F.normalize(encoded.embedding, dim=1)
        parts = generator.appearance(encoded.maps)

    # Generated variance, and what it has to be for the generator's sake.
    terms: dict[str, Tensor] = {}
    outcomes = []
    views: Views | None = None
    embeddings: Tensor | None = None  # of rotated views and mixes, where one pass of the encoder served everything
    if train_generator:
        with timer.part("generator"):
            views = generate_views(generator, batch.generation, parts, rotation=how.rotation, mixing=how.mixing)
            if _serves_both(batch, views, how.mixing, contrast):
                passed = _encode_kinds(encode, views, together=contrast.encoder_passes == "together")
                embeddings = torch.cat([encoded.embedding for encoded in passed])[len(images) :]
                parts_of_passes = [generator.appearance(each.maps) for each in passed]
                seen = torch.cat(parts_of_passes)[: len(images) + len(views.rotated)]
            else:
                first = torch.cat([views.reconstruction, views.rotation])
                seen = appearance(first, (everyone, views.rotated))
            made = measure(generator, appearance, batch.generation, parts, views, seen)
            terms |= made.terms
        if discriminate:
            with timer.part("discriminator"):
                outcomes.append(
                    discriminator_step(
                        discriminator, optimisers.discriminator, images, made.fakes, r1_weight=how.r1_weight
                    )
                )
        with timer.part("generator"):
            terms["adversarial"] = adversarial_term(discriminator, made.fakes)
    elif how.rotation or how.mixing in ("dmixup", "fmixup"):
        with timer.part("generator"), torch.no_grad():
            views = generate_views(
                generator, batch.generation, parts.detach(), rotation=how.rotation, mixing=how.mixing
            )

    # What the encoder learns from it.
    with timer.part("contrast"):
        terms |= _contrast(batch, views, embeddings, features, how.mixing, contrast, encode)
    trained = {"encoder": Trained(networks.encoder, _encoder_optimiser(optimisers))}
    if train_generator:
        trained["generator"] = Trained(generator, optimisers.generator, how.clip_norm)
    with timer.part("update"):
        outcome = update(weighted_sum(terms, {**how.weights, **contrast.weights}), trained)
    return JointResult(step_result([(terms, outcome), *outcomes]), None if outcome.skipped else features.detach())


def _contrast(
    batch: JointBatch,
    views: Views | None,
    embeddings: Tensor | None,
    features: Tensor,
    mixing: MixingKind,
    contrast: ContrastSettings,
    encode: Callable[[Tensor, tuple[Tensor, ...]], Encoded],
) -> dict[str, Tensor]:
    """Return ``rotation_contrast`` and, where something is mixed, ``mixing_contrast``."""
    images, mixture = batch.generation.images, batch.generation.mixture
    viewed, view_images = _views(batch, views, contrast)
    mixes = image_mixup(images, mixture) if mixing == "image" else views.mix if views is not None else None
    if embeddings is None:
        shown = torch.cat([view_images] if mixes is None else [view_images, mixes])
        if not contrast.trains_generator:
            shown = shown.detach()
        if count_over_ranks(len(shown), shown.device):
            everyone = torch.arange(len(images), device=images.device)
            embeddings = encode(shown, (viewed,) if mixes is None else (viewed, everyone)).embedding
    seen = features[:0] if embeddings is None else F.normalize(embeddings, dim=1)
    terms = {
        "rotation_contrast": rotation_contrast(
            features, seen[: len(viewed)], viewed, batch.rows, batch.pool, batch.draws, contrast.temperature
        )
    }
    if mixes is not None:
        terms["mixing_contrast"] = mixing_contrast(
            features, seen[len(viewed) :], batch.rows, mixture, batch.pool, contrast.temperature
        )
    return terms


def _serves_both(batch: JointBatch, views: Views, mixing: MixingKind, contrast: ContrastSettings) -> bool:
    """Tell whether one pass of the encoder serves generation and contrast: both look at the same images."""
    shown_others = batch.classical is not None or mixing == "image"  # which generation does not make
    changed = contrast.swap_background or not contrast.trains_generator or shown_others
    return contrast.encoder_passes != "by_loss" and not changed and (views.any_rotated or views.mix is not None)


def _encode_kinds(
    encode: Callable[[Tensor, tuple[Tensor, ...]], Encoded], views: Views, *, together: bool
) -> list[Encoded]:
    """Encode reconstructions, rotations and mixes in this order, in one pass or in one for each kind."""
    everyone = torch.arange(len(views.reconstruction), device=views.reconstruction.device)
    kinds = [(views.reconstruction, everyone)]
    if views.any_rotated:
        kinds.append((views.rotation, views.rotated))
    if views.mix is not None:
        kinds.append((views.mix, everyone))
    # A single image has no batch statistics of its own.
    if together or (views.any_rotated and count_over_ranks(len(views.rotated), everyone.device) == 1):
        images, sources = zip(*kinds, strict=True)
        return [encode(torch.cat(images), sources)]
    return [encode(images, (source,)) for images, source in kinds]


def _views(batch: JointBatch, views: Views | None, contrast: ContrastSettings) -> tuple[Tensor, Tensor]:
    """Return which images have another view, shape (V,), and the views, shape (V, 3, H, W)."""
    source = batch.generation
    viewed = torch.empty(0, dtype=torch.long, device=source.images.device)
    images = source.images[:0]
    if views is not None and views.any_rotated:
        viewed, images = views.rotated, views.rotation
        if contrast.swap_background:
            images = _before_other_backgrounds(source, viewed, images)
    if batch.classical is not None:
        everyone = torch.arange(len(source.images), device=viewed.device)
        viewed, images = torch.cat([viewed, everyone]), torch.cat([images, batch.classical])
    return viewed, images


def _before_other_backgrounds(source: GenerationBatch, viewed: Tensor, images: Tensor) -> Tensor:
    """Give each turned image the background of the one before it among all that have a mesh, on whichever rank."""
    rank, size = world()
    able = gather_batch(source.has_mesh.long()).nonzero().squeeze(1)
    donor_of = torch.zeros(len(source.images) * size, dtype=torch.long, device=viewed.device)
    donor_of[able] = able.roll(1)
    donors = donor_of[viewed * size + rank]
    return swap_background(
        images,
        silhouette(source.turned[viewed]),
        gather_batch(source.images)[donors],
        silhouette(gather_batch(source.guidance)[donors]),
    )


def _encoder_optimiser(optimisers: Optimisers) -> Optimizer:
    assert optimisers.encoder is not None, "joint training trains the encoder"
    return optimisers.encoder
