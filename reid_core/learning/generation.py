"""Generating the variance of a batch, and the loss terms of generation.

Letters: B images, R of them with a mesh, H x W pixels, P parts, C channels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reid_core.learning.mixing import MixingKind, Mixture, mixed_code
from reid_core.losses.adversarial import deceive
from reid_core.losses.reconstruction import appearance_distance, image_distance
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator


class GenerationBatch(NamedTuple):
    """What one iteration generates from.

    Attributes:
        images: In [-1, 1], shape (B, 3, H, W).
        guidance: g in [-1, 1], shape (B, 1, H, W).
        turned: g_t in [-1, 1], shape (B, 1, H, W); meaningless without a mesh.
        has_mesh: Whether g and g_t come from a mesh, shape (B,).
        mixture: Partners and ratios of the mixed images.
    """

    images: Tensor
    guidance: Tensor
    turned: Tensor
    has_mesh: Tensor
    mixture: Mixture


class Views(NamedTuple):
    """Generated variance of a batch.

    Attributes:
        rotated: Positions of the images that were turned, shape (R,).
        rotation: x_rot, shape (R, 3, H, W).
        mix: x_mix, shape (B, 3, H, W), or None when nothing generated was mixed.
        reconstruction: x_rec, shape (B, 3, H, W).
        structure: S(g), shape (B, K, H/4, W/4).
    """

    rotated: Tensor
    rotation: Tensor
    mix: Tensor | None
    reconstruction: Tensor
    structure: Tensor


class Generation(NamedTuple):
    """Generated images of a batch, and the unweighted terms that they give.

    Attributes:
        views: x_rec, x_rot and x_mix.
        fakes: Everything generated, for the discriminator, shape (B + 2 R (+ B), 3, H, W).
        terms: Named scalars: image and feature terms; the adversarial term is added by ``deception``.
    """

    views: Views
    fakes: Tensor
    terms: dict[str, Tensor]


def generate_views(
    generator: Generator, batch: GenerationBatch, parts: Tensor, *, rotation: bool, mixing: MixingKind
) -> Views:
    """Paint reconstruction, rotation and mix of a batch in one pass of the decoder.

    Args:
        generator: S and G.
        batch: Images and guidance.
        parts: A(x), shape (B, P, C).
        rotation: Whether to turn bodies at all.
        mixing: What x_mix is; ``image`` and ``none`` generate nothing.

    Returns:
        The generated views.
    """
    rotated = (batch.has_mesh if rotation else torch.zeros_like(batch.has_mesh)).nonzero().squeeze(1)
    count, turned_count = len(parts), len(rotated)
    codes = generator.structure(torch.cat([batch.guidance, batch.turned[rotated]]))
    structure = codes[:count]
    structures, appearances = [codes], [parts, parts[rotated]]
    if mixing in ("dmixup", "fmixup"):
        mixed_structure, mixed_parts = mixed_code(mixing, structure, parts, batch.mixture)
        structures.append(mixed_structure)
        appearances.append(mixed_parts)
    painted = generator.decoder(torch.cat(structures), torch.cat(appearances))
    return Views(
        rotated=rotated,
        rotation=painted[count : count + turned_count],
        mix=painted[count + turned_count :] if len(structures) > 1 else None,
        reconstruction=painted[:count],
        structure=structure,
    )


def generation(
    generator: Generator,
    appearance: Callable[[Tensor], Tensor],
    batch: GenerationBatch,
    parts: Tensor,
    *,
    rotation: bool,
    mixing: MixingKind,
) -> Generation:
    """Generate a batch's views, turn the rotated ones back, and measure both against the images.

    Args:
        generator: S and G.
        appearance: A: images (B, 3, H, W) to parts (B, P, C).
        batch: Images and guidance.
        parts: A(x), shape (B, P, C).
        rotation: Whether to turn bodies; images without a mesh never are.
        mixing: What x_mix is.

    Returns:
        Views, everything generated, and the terms ``image_reconstruction``, ``feature_reconstruction`` and, where
        something was turned, ``image_cycle`` and ``feature_cycle``.
    """
    views = generate_views(generator, batch, parts, rotation=rotation, mixing=mixing)
    count = len(parts)
    seen = appearance(torch.cat([views.reconstruction, views.rotation]))
    terms = {
        "image_reconstruction": image_distance(views.reconstruction, batch.images).mean(),
        "feature_reconstruction": appearance_distance(seen[:count], parts).mean(),
    }
    fakes = [views.reconstruction]
    if len(views.rotated):
        cycle = generator.decoder(views.structure[views.rotated], seen[count:])
        terms["image_cycle"] = image_distance(cycle, batch.images[views.rotated]).mean()
        terms["feature_cycle"] = appearance_distance(appearance(cycle), parts[views.rotated]).mean()
        fakes += [views.rotation, cycle]
    if views.mix is not None:
        fakes.append(views.mix)
    return Generation(views, torch.cat(fakes), terms)


def deception(discriminator: Discriminator, fakes: Tensor) -> Tensor:
    """L_adv: mean over everything generated; gradients reach the images and not the discriminator.

    Args:
        discriminator: Dis.
        fakes: Generated images, shape (B, 3, H, W).

    Returns:
        Scalar.
    """
    with parameters_fixed(discriminator):
        return deceive(discriminator(fakes)).mean()


@contextmanager
def parameters_fixed(module: nn.Module) -> Iterator[None]:
    """Treat a network's parameters as constants inside the block; gradients still flow through it."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
