"""Guidance as the generator reads it: rendered meshes, or the image's own edges where there is no mesh.

Letters: B images, H x W pixels, R angles.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.errors import UserError

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
