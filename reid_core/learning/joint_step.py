"""One update of joint training: contrast and generation together (section 3.6 of the paper).

Letters: B images of one rank, R of them turned, V other views, N training images, H x W pixels, P stripes, C channels,
D embedding.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from reid_core.distributed import gather_batch
from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.generation import (
    GenerationBatch,
    Views,
    adversarial_term,
    generate_views,
    reconstruction_terms,
    silhouette,
    swap_background,
    turn_back,
)
from reid_core.learning.generator_step import (
    GenerationSettings,
    Networks,
    Optimisers,
    StepResult,
    discriminator_step,
    step_result,
)
from reid_core.learning.memory import EpochTargets, FeatureMemory
from reid_core.learning.mixing import MixingKind, image_mixup
from reid_core.learning.timer import Timer
from reid_core.learning.update import Trained, update, weighted_sum
from reid_core.losses.contrastive import mixing_contrast, rotation_contrast


@dataclass(frozen=True)
class ContrastSettings:
    """How the varied images are contrasted.

    Attributes:
        rotation_weight: Weight of L_rot, without a unit (published).
        mixing_weight: Weight of L_mix, without a unit (ours; undefined where published).
        temperature: Softmax temperature (published).
        num_negatives: K: most negatives of one image (published).
        memory_momentum: Share of a feature in the memory that stays at an update (published).
        swap_background: Whether turned people are put in front of other images' backgrounds (ours).
        trains_generator: Whether contrast also trains S and G, through the generated images.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    rotation_weight: Annotated[float, Ge(0), Le(1000)] = 1.0
    mixing_weight: Annotated[float, Ge(0), Le(1000)] = 1.0
    temperature: Annotated[float, Gt(0), Le(10)] = 0.04
    num_negatives: Annotated[int, Ge(1)] = 8192
    memory_momentum: Annotated[float, Ge(0), Lt(1)] = 0.2
    swap_background: bool = False
    trains_generator: bool = True

    def by_term(self) -> dict[str, float]:
        """Return the weight of every contrastive term."""
        return {"rotation_contrast": self.rotation_weight, "mixing_contrast": self.mixing_weight}


class JointBatch(NamedTuple):
    """What one iteration of joint training reads, beside the memory and the epoch's targets.

    Attributes:
        generation: Images, guidance and mixture, B of them.
        classical: Classically augmented images to use as views, shape (B, 3, H, W), or None.
        indices: Place of every image in the memory, shape (B,).
        positives: Another place of the same cluster for every image, shape (B,).
        negatives: True where a place of the memory is a negative of the image, shape (B, N).
    """

    generation: GenerationBatch
    classical: Tensor | None
    indices: Tensor
    positives: Tensor
    negatives: Tensor


class JointResult(NamedTuple):
    """Outcome of one iteration, on the device.

    Attributes:
        step: Terms, norms and skipped updates.
        features: f(x), L2-normalised, detached, for the memory, shape (B, D).
        skipped: Whether encoder and generator were left as they were; a scalar.
    """

    step: StepResult
    features: Tensor
    skipped: Tensor


def joint_step(
    networks: Networks,
    optimisers: Optimisers,
    encoder: GeneratedEncoder,
    batch: JointBatch,
    memory: FeatureMemory,
    targets: EpochTargets,
    settings: GenerationSettings,
    contrast: ContrastSettings,
    *,
    train_generator: bool,
    discriminate: bool,
    timer: Timer,
) -> JointResult:
    """Update encoder, S and G by contrast and generation, and the discriminator apart.

    Args:
        networks: All three in training mode.
        optimisers: Of all three.
        encoder: The networks' encoder; it decides which images share batch statistics.
        batch: What to learn from.
        memory: Read here; the caller updates it afterwards.
        targets: Pseudo labels and prototypes of the epoch.
        settings: Switches and weights of generation.
        contrast: Settings of contrast.
        train_generator: Whether generation losses are computed; otherwise the generator only makes views.
        discriminate: Whether the discriminator is updated in this iteration (only with ``train_generator``).
        timer: Counts the spans ``encoder``, ``generator``, ``discriminator``, ``contrast`` and ``update``.

    Returns:
        Terms, norms and features.
    """
    generator, discriminator = networks.generator, networks.discriminator
    x = batch.generation.images
    everyone = torch.arange(len(x), device=x.device)

    # f(x) and A(x).
    with timer.span("encoder"):
        real = encoder.real(x)
        features = F.normalize(real.embedding, dim=1)  # (B, D)
        part_features = generator.appearance(real.maps)  # (B, P, C)

    # x_rec, x_rot and x_mix. Where generation is not trained, they are made for contrast alone.
    views: Views | None = None
    if train_generator or settings.rotation or settings.mixing in ("dmixup", "fmixup"):
        with timer.span("generator"), torch.set_grad_enabled(train_generator):
            views = generate_views(
                generator, batch.generation, part_features, rotation=settings.rotation, mixing=settings.mixing
            )

    # L_img, L_feat and L_adv; x_cyc is painted from what the encoder sees in x_rot.
    terms: dict[str, Tensor] = {}
    updates = []
    contrasted: Contrasted | None = None
    if train_generator and views is not None:
        with timer.span("generator"):
            if _contrast_sees_these(batch, views, settings.mixing, contrast):
                rec, rot, mix = encoder.each_kind(views)
                rec_part_features, rot_part_features = generator.appearance(rec.maps), generator.appearance(rot.maps)
                contrasted = Contrasted(views.rotated, rot.embedding, mix.embedding)
            else:
                seen = encoder.generated_maps(
                    torch.cat([views.reconstruction, views.rotation]), torch.cat([everyone, views.rotated])
                )
                rec_part_features, rot_part_features = generator.appearance(seen).tensor_split([len(x)])
            terms |= reconstruction_terms("reconstruction", views.reconstruction, x, rec_part_features, part_features)
            cycle = views.rotation
            if views.num_rotated:
                own = views.rotated
                cycle = turn_back(generator, views, rot_part_features)  # (R, 3, H, W)
                cyc_part_features = generator.appearance(encoder.generated_maps(cycle, own))
                terms |= reconstruction_terms("cycle", cycle, x[own], cyc_part_features, part_features[own])
            fakes = torch.cat([views.reconstruction, views.rotation, cycle, views.mix])
        if discriminate:
            with timer.span("discriminator"):
                updates.append(
                    discriminator_step(discriminator, optimisers.discriminator, x, fakes, r1_weight=settings.weights.r1)
                )
        with timer.span("generator"):
            terms["adversarial"] = adversarial_term(discriminator, fakes)

    # L_rot and L_mix.
    with timer.span("contrast"):
        if contrasted is None:
            contrasted = _encode_for_contrast(encoder, batch, views, settings.mixing, contrast, features)
        terms["rotation_contrast"] = rotation_contrast(
            features,
            F.normalize(contrasted.views, dim=1),
            contrasted.viewed,
            memory=memory.features,
            indices=batch.indices,
            positives=batch.positives,
            negatives=batch.negatives,
            temperature=contrast.temperature,
        )
        if settings.mixing != "none":
            labels, mixture = targets.labels[batch.indices], batch.generation.mixture
            terms["mixing_contrast"] = mixing_contrast(
                features,
                F.normalize(contrasted.mixes, dim=1),
                prototypes=targets.prototypes,
                labels=labels,
                partner_labels=mixture.partners(labels),
                ratio=mixture.ratio,
                temperature=contrast.temperature,
            )

    with timer.span("update"):
        assert optimisers.encoder is not None, "joint training trains the encoder"
        trained = {"encoder": Trained(networks.encoder, optimisers.encoder)}
        if train_generator:
            trained["generator"] = Trained(generator, optimisers.generator, settings.clip_norm)
        outcome = update(weighted_sum(terms, {**settings.weights.by_term(), **contrast.by_term()}), trained)
    return JointResult(step_result((terms, outcome), *updates), features.detach(), outcome.skipped)


class Contrasted(NamedTuple):
    """Images that are contrasted beside x, after the encoder.

    Attributes:
        viewed: Positions of the images with another view, shape (V,).
        views: Embedding of the views, shape (V, D).
        mixes: Embedding of the mixes, shape (B, D); (0, D) where nothing is mixed.
    """

    viewed: Tensor
    views: Tensor
    mixes: Tensor


def _contrast_sees_these(batch: JointBatch, views: Views, mixing: MixingKind, contrast: ContrastSettings) -> bool:
    """Tell whether contrast looks at the very rotations and mixes of generation, so that one pass serves both."""
    at_others = batch.classical is not None or mixing == "image" or contrast.swap_background
    return contrast.trains_generator and not at_others and (views.num_rotated > 0 or len(views.mix) > 0)


def _encode_for_contrast(
    encoder: GeneratedEncoder,
    batch: JointBatch,
    views: Views | None,
    mixing: MixingKind,
    contrast: ContrastSettings,
    features: Tensor,
) -> Contrasted:
    """Encode the views and mixes that generation does not show the encoder, as one batch."""
    source = batch.generation
    x = source.images
    everyone = torch.arange(len(x), device=x.device)
    viewed, images, mixes = everyone[:0], x[:0], x[:0]
    if views is not None:
        viewed, images, mixes = views.rotated, views.rotation, views.mix
        if contrast.swap_background and views.num_rotated:
            images = _before_other_backgrounds(source, views)
    if batch.classical is not None:
        viewed, images = torch.cat([viewed, everyone]), torch.cat([images, batch.classical])
    if mixing == "image":
        mixes = image_mixup(x, source.mixture)
    if not len(mixes) and batch.classical is None and (views is None or not views.num_rotated):
        return Contrasted(viewed, features[:0], features[:0])
    shown = torch.cat([images, mixes])  # (V + B, 3, H, W)
    if not contrast.trains_generator:
        shown = shown.detach()
    embedding = encoder.generated(shown, torch.cat([viewed, everyone[: len(mixes)]])).embedding
    return Contrasted(viewed, *embedding.tensor_split([len(viewed)]))


def _before_other_backgrounds(source: GenerationBatch, views: Views) -> Tensor:
    """Give each turned image the background of the one before it among all that have a mesh, on whichever rank."""
    donors = source.turnable.donors
    return swap_background(
        views.rotation,
        silhouette(source.turned_guidance[views.rotated]),
        gather_batch(source.images)[donors],
        silhouette(gather_batch(source.guidance)[donors]),
    )
