"""Generating the variance of a batch, and the loss terms of generation.

Letters: B images, R of them with a mesh, H x W pixels, P parts, C channels.

Putting a generated person in front of another image's background, beyond the paper.

A rotated view keeps its source's background, which contrast would happily use as a shortcut.

Letters: B images, H x W pixels.

Guidance as the generator reads it: rendered meshes, or the image's own edges where there is no mesh.

Letters: B images, H x W pixels, R angles.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.distributed import count_over_ranks, mean_over_ranks, whole_mean
from reid_core.errors import UserError
from reid_core.learning.mixing import MixingKind, Mixture, mixed_code
from reid_core.losses.gan import generator_loss
from reid_core.losses.reconstruction import appearance_distance, image_distance
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator

# A: images (n, 3, H, W) and, for each kind of them in turn, the positions in the batch that they were made from; gives
# parts (n, P, C).
Appearance = Callable[[Tensor, tuple[Tensor, ...]], Tensor]


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
        rotated: Positions of the images that were turned, shape (R,); on this rank there may be none.
        any_rotated: Whether an image was turned on any rank.
        rotation: x_rot, shape (R, 3, H, W).
        mix: x_mix, shape (B, 3, H, W), or None when nothing generated was mixed.
        reconstruction: x_rec, shape (B, 3, H, W).
        structure: S(g), shape (B, K, H/4, W/4).
    """

    rotated: Tensor
    any_rotated: bool
    rotation: Tensor
    mix: Tensor | None
    reconstruction: Tensor
    structure: Tensor


class Generation(NamedTuple):
    """Generated images of a batch, and the unweighted terms that they give.

    Attributes:
        views: x_rec, x_rot and x_mix.
        fakes: Everything generated, for the discriminator, shape (B + 2 R (+ B), 3, H, W).
        terms: Named scalars: image and feature terms; the adversarial term is added by ``adversarial_term``.
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
        any_rotated=rotation and count_over_ranks(turned_count, parts.device) > 0,
        rotation=painted[count : count + turned_count],
        mix=painted[count + turned_count :] if len(structures) > 1 else None,
        reconstruction=painted[:count],
        structure=structure,
    )


def generation(
    generator: Generator,
    appearance: Appearance,
    batch: GenerationBatch,
    parts: Tensor,
    *,
    rotation: bool,
    mixing: MixingKind,
) -> Generation:
    """Generate a batch's views, turn the rotated ones back, and measure both against the images.

    Args:
        generator: S and G.
        appearance: A.
        batch: Images and guidance.
        parts: A(x), shape (B, P, C).
        rotation: Whether to turn bodies; images without a mesh never are.
        mixing: What x_mix is.

    Returns:
        Views, everything generated, and the terms ``image_reconstruction``, ``feature_reconstruction`` and, where
        something was turned, ``image_cycle`` and ``feature_cycle``.
    """
    views = generate_views(generator, batch, parts, rotation=rotation, mixing=mixing)
    everyone = torch.arange(len(parts), device=parts.device)
    seen = appearance(torch.cat([views.reconstruction, views.rotation]), (everyone, views.rotated))
    return measure(generator, appearance, batch, parts, views, seen)


def measure(
    generator: Generator, appearance: Appearance, batch: GenerationBatch, parts: Tensor, views: Views, seen: Tensor
) -> Generation:
    """Turn rotated views back, and measure them and the reconstructions against the images.

    Args:
        generator: S and G.
        appearance: A, as for ``generation``.
        batch: Images and guidance.
        parts: A(x), shape (B, P, C).
        views: Of the batch.
        seen: A of reconstructions and rotated views, shape (B + R, P, C).

    Returns:
        As for ``generation``.
    """
    count = len(parts)
    terms = reconstruction_terms(views.reconstruction, batch.images, seen[:count], parts, "reconstruction")
    fakes = [views.reconstruction]
    if views.any_rotated:
        cycle = generator.decoder(views.structure[views.rotated], seen[count:])
        known = parts[views.rotated]
        terms |= reconstruction_terms(
            cycle, batch.images[views.rotated], appearance(cycle, (views.rotated,)), known, "cycle"
        )
        fakes += [views.rotation, cycle]
    if views.mix is not None:
        fakes.append(views.mix)
    return Generation(views, torch.cat(fakes), terms)


def reconstruction_terms(
    generated: Tensor, images: Tensor, seen: Tensor, parts: Tensor, name: str
) -> dict[str, Tensor]:
    """Measure images that should be the originals again: one half of L_img and one of L_feat.

    Args:
        generated: x_rec or x_cyc, shape (n, 3, H, W).
        images: x, shape (n, 3, H, W).
        seen: A(generated), shape (n, P, C).
        parts: A(x), a constant here, shape (n, P, C).
        name: ``reconstruction`` or ``cycle``.

    Returns:
        ``image_<name>`` and ``feature_<name>``, scalars.
    """
    magnitude = whole_mean(parts.abs())
    return {
        f"image_{name}": mean_over_ranks(image_distance(generated, images)),
        f"feature_{name}": mean_over_ranks(appearance_distance(seen, parts, magnitude=magnitude)),
    }


def adversarial_term(discriminator: Discriminator, fakes: Tensor) -> Tensor:
    """L_adv: mean over everything generated; gradients reach the images and not the discriminator.

    Args:
        discriminator: Dis.
        fakes: Generated images, shape (B, 3, H, W).

    Returns:
        Scalar.
    """
    with parameters_fixed(discriminator):
        return mean_over_ranks(generator_loss(discriminator(fakes)))


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


def silhouette(guidance: Tensor) -> Tensor:
    """Return where a guidance map in [-1, 1], shape (B, 1, H, W), shows a body: 0 or 1 in the same shape."""
    return (guidance > BACKGROUND + 0.02).to(guidance)


def swap_background(generated: Tensor, body: Tensor, donor: Tensor, donor_body: Tensor) -> Tensor:
    """Keep the generated person and take everything around from a donor image without its person.

    Where the donor's own person stands, the mean colour of the donor's background is put.

    Args:
        generated: Generated images, shape (B, 3, H, W).
        body: Silhouettes of the generated people, shape (B, 1, H, W).
        donor: Real images, shape (B, 3, H, W).
        donor_body: Silhouettes of the donors' people, shape (B, 1, H, W).

    Returns:
        Composites, shape (B, 3, H, W).
    """
    free = 1 - donor_body
    mean_colour = (donor * free).sum(dim=(2, 3), keepdim=True) / free.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    return body * generated + (1 - body) * (free * donor + donor_body * mean_colour)


BACKGROUND = -1.0  # of a guidance map scaled to [-1, 1]


def edge_guidance(images: Tensor) -> Tensor:
    """Draw an image's edges, as guidance for an image without a mesh.

    Edges say where limbs and clothes end but hardly which colour they have, so appearance still has to come from the
    identity encoder. Such a map cannot be turned: rotation and cycle are left out for these images.

    Args:
        images: In [-1, 1], shape (B, 3, H, W).

    Returns:
        Edge strength relative to the image's strongest, in [-1, 1], shape (B, 1, H, W).
    """
    gray = images.mean(dim=1, keepdim=True)
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=images.device)
    kernels = torch.stack([kernel, kernel.T])[:, None]
    slopes = F.conv2d(F.pad(gray, (1, 1, 1, 1), mode="replicate"), kernels)
    strength = slopes.square().sum(dim=1, keepdim=True).sqrt()
    return 2 * strength / strength.amax(dim=(2, 3), keepdim=True).clamp_min(1e-6) - 1


def guidance_for(images: Tensor, maps: Tensor, has_mesh: Tensor) -> Tensor:
    """Scale stored maps and fill in edges where there is no mesh.

    Args:
        images: In [-1, 1], shape (B, 3, H, W).
        maps: Stored maps, uint8, shape (B, H, W).
        has_mesh: Whether the map is a rendered mesh, shape (B,).

    Returns:
        Guidance in [-1, 1], shape (B, 1, H, W).
    """
    if maps.shape[1:] != images.shape[2:]:
        raise UserError(
            f"guidance maps are {tuple(maps.shape[1:])} pixels, images {tuple(images.shape[2:])}; "
            "run the mesh stage again on this data"
        )
    rendered = maps[:, None].float() / 127.5 - 1
    if bool(has_mesh.all()):
        return rendered
    return torch.where(has_mesh.view(-1, 1, 1, 1), rendered, edge_guidance(images))


def draw_angles(num_images: int, angles: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw a rotation for every image, uniformly from ``angles`` (shape (R,)); shape (B,)."""
    return angles[torch.randint(len(angles), (num_images,), generator=generator)]
