"""Generating the variance of a batch: guidance, views, the terms they give, and other backgrounds.

Letters: B images of one rank, W ranks, R images that are turned, H x W pixels, P stripes, C channels, K channels of S.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.data.transfer import send
from reid_core.distributed import mean_over_ranks, own_rows, whole_mean
from reid_core.errors import UserError
from reid_core.learning.mixing import MixingKind, Mixture, mixed_code
from reid_core.losses.gan import generator_loss
from reid_core.losses.reconstruction import appearance_distance, image_distance
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator

BACKGROUND = -1.0  # of a guidance map scaled to [-1, 1]


class Turnable(NamedTuple):
    """The images of a batch that have a mesh, and so can be turned.

    Attributes:
        positions: In this rank's batch, shape (R,); there may be none.
        donors: Of each the image before it among all that have a mesh, in the global batch: it lends a background.
            Shape (R,).
        total: Their number on all ranks together.
    """

    positions: Tensor
    donors: Tensor
    total: int

    @classmethod
    def among(cls, has_mesh: Tensor) -> "Turnable":
        """Find them in a global batch, on the CPU: a device would have to be waited for.

        Args:
            has_mesh: Whether an image has a mesh, for the global batch, shape (W * B,).

        Returns:
            This rank's part, on the CPU.
        """
        able = has_mesh.nonzero().squeeze(1)
        donor_of = torch.zeros_like(has_mesh, dtype=torch.long)
        donor_of[able] = able.roll(1)
        positions = has_mesh[own_rows()].nonzero().squeeze(1)
        return cls(positions, donor_of[own_rows()][positions], len(able))


class GenerationBatch(NamedTuple):
    """What one iteration generates from.

    Attributes:
        images: x in [-1, 1], shape (B, 3, H, W).
        guidance: g in [-1, 1], shape (B, 1, H, W).
        turned_guidance: g_t in [-1, 1], shape (B, 1, H, W); meaningless without a mesh.
        turnable: The images whose g and g_t come from a mesh.
        mixture: Partners and ratios of the mixed images.
    """

    images: Tensor
    guidance: Tensor
    turned_guidance: Tensor
    turnable: Turnable
    mixture: Mixture


class Views(NamedTuple):
    """Generated variance of a batch.

    Attributes:
        reconstruction: x_rec, shape (B, 3, H, W).
        rotation: x_rot, shape (R, 3, H, W).
        mix: x_mix, shape (B, 3, H, W); (0, 3, H, W) where nothing generated is mixed.
        rotated: Positions of the images that were turned, shape (R,); on this rank there may be none.
        num_rotated: Their number on all ranks together.
        structure: S(g), shape (B, K, H/4, W/4).
    """

    reconstruction: Tensor
    rotation: Tensor
    mix: Tensor
    rotated: Tensor
    num_rotated: int
    structure: Tensor


def generate_views(
    generator: Generator, batch: GenerationBatch, part_features: Tensor, *, rotation: bool, mixing: MixingKind
) -> Views:
    """Paint reconstruction, rotation and mix of a batch in one pass of the decoder.

    Args:
        generator: S and G.
        batch: Images and guidance.
        part_features: A(x), shape (B, P, C).
        rotation: Whether to turn bodies at all.
        mixing: What x_mix is; ``image`` and ``none`` generate nothing.

    Returns:
        The generated views.
    """
    rotated = batch.turnable.positions if rotation else batch.turnable.positions[:0]
    codes = generator.structure(torch.cat([batch.guidance, batch.turned_guidance[rotated]]))  # (B + R, K, H/4, W/4)
    structure = codes[: len(part_features)]
    structures, appearances = [codes], [part_features, part_features[rotated]]
    if mixing in ("dmixup", "fmixup"):
        mixed_structure, mixed_part_features = mixed_code(mixing, structure, part_features, batch.mixture)
        structures.append(mixed_structure)
        appearances.append(mixed_part_features)
    painted = generator.decoder(torch.cat(structures), torch.cat(appearances))
    reconstruction, turned, mix = painted.tensor_split([len(structure), len(codes)])
    return Views(
        reconstruction=reconstruction,
        rotation=turned,
        mix=mix,
        rotated=rotated,
        num_rotated=batch.turnable.total if rotation else 0,
        structure=structure,
    )


def turn_back(generator: Generator, views: Views, rotated_part_features: Tensor) -> Tensor:
    """Paint x_cyc = G(S(g), A(x_rot)) from A(x_rot), (R, P, C): shape (R, 3, H, W)."""
    return generator.decoder(views.structure[views.rotated], rotated_part_features)  # type: ignore[no-any-return]


def reconstruction_terms(
    name: str, generated: Tensor, images: Tensor, generated_part_features: Tensor, part_features: Tensor
) -> dict[str, Tensor]:
    """Measure images that should be the originals again: one half of L_img and one of L_feat.

    Args:
        name: ``reconstruction`` or ``cycle``.
        generated: x_rec or x_cyc, shape (n, 3, H, W).
        images: x, shape (n, 3, H, W).
        generated_part_features: A(generated), shape (n, P, C).
        part_features: A(x), a constant here, shape (n, P, C).

    Returns:
        ``image_<name>`` and ``feature_<name>``, scalars.
    """
    magnitude = whole_mean(part_features.abs())
    distance = appearance_distance(generated_part_features, part_features, magnitude=magnitude)  # (n,)
    return {
        f"image_{name}": mean_over_ranks(image_distance(generated, images)),
        f"feature_{name}": mean_over_ranks(distance),
    }


def adversarial_term(discriminator: Discriminator, fakes: Tensor) -> Tensor:
    """L_adv: mean over everything generated; gradients reach the images and not the discriminator.

    Args:
        discriminator: Dis.
        fakes: Generated images, shape (n, 3, H, W).

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
    """Keep the generated person and take everything around from a donor image without its person (ours).

    A rotated view keeps its source's background, which contrast would happily use as a shortcut. Where the donor's own
    person stands, the mean colour of the donor's background is put.

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
        maps: Stored maps on the images' device, uint8, shape (B, H, W).
        has_mesh: Whether the map is a rendered mesh, on the CPU, shape (B,).

    Returns:
        Guidance in [-1, 1], shape (B, 1, H, W).
    """
    if maps.shape[1:] != images.shape[2:]:
        raise UserError(
            f"guidance maps are {tuple(maps.shape[1:])} pixels, images {tuple(images.shape[2:])}; "
            "run the mesh stage again on this data"
        )
    rendered = maps[:, None].float() / 127.5 - 1
    if bool(has_mesh.all()):  # on the CPU: nothing is waited for
        return rendered
    return torch.where(send(has_mesh, images.device).view(-1, 1, 1, 1), rendered, edge_guidance(images))


def draw_angles(num_images: int, angles: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw a rotation for every image, uniformly from ``angles`` (shape (R,)); shape (B,)."""
    return angles[torch.randint(len(angles), (num_images,), generator=generator)]
