"""The contact sheet of a mesh cache: some of its images, and how their meshes lie on them.

Letters: B images, A angles, H x W pixels.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from reid_core.data.images import load_images
from reid_core.errors import UserError
from reid_core.mesh.cache import MeshCache
from reid_core.mesh.guidance import ANGLES

NAME = "guidance.png"
GAP = 2  # pixels around each picture
_SMALLEST = 128  # pixels of height below which a photograph is enlarged
_UNKNOWN = 230  # the grey of a photograph that is not there


def contact_sheet(cache: MeshCache, files: Mapping[str, Path], count: int) -> Tensor | None:
    """Draw images that have a mesh, spread over the cache.

    Args:
        cache: Of N images.
        files: Photograph of an image, where it is known.
        count: Rows at most.

    Returns:
        The sheet, uint8, shape (3, H', W'); None where no image has a mesh.
    """
    names = [
        name for name, able in zip(cache.image_ids, cache.available(cache.image_ids).tolist(), strict=True) if able
    ]
    if not names:
        return None
    chosen = [names[index * len(names) // min(count, len(names))] for index in range(min(count, len(names)))]
    masks = cache.masks(chosen)
    return guidance_sheet(
        torch.cat([_photograph(files.get(name), cache.size) for name in chosen]),
        cache.guidance(chosen, ANGLES),
        masks if bool(masks.any()) else None,
    )


def guidance_sheet(images: Tensor, maps: Tensor, masks: Tensor | None = None) -> Tensor:
    """Draw one row an image: photograph, person seen, mesh over photograph, the seven turns.

    Args:
        images: Photographs, uint8, shape (B, 3, H, W).
        maps: Guidance maps, the unturned one first, uint8, shape (B, A, H, W).
        masks: The persons that were seen, uint8, shape (B, H, W); None leaves their column out.

    Returns:
        The sheet, uint8, shape (3, H', W').
    """
    assert images.shape[2:] == maps.shape[2:], (images.shape, maps.shape)
    body = maps[:, :1]
    # Half the photograph, half the mesh in green, so that both edges can be compared.
    green = torch.cat([torch.zeros_like(body), body, torch.zeros_like(body)], dim=1)
    mixed = (images.float() * 0.5 + green.float() * 0.5).to(torch.uint8)
    over = torch.where(body > 0, mixed, images)
    gray = maps[:, 1:, None].expand(-1, -1, 3, -1, -1)  # (B, A - 1, 3, H, W)
    seen = [] if masks is None else [masks[:, None, None].expand(-1, -1, 3, -1, -1)]
    cells = torch.cat([images[:, None], *seen, over[:, None], gray], dim=1)
    factor = max(1, -(-_SMALLEST // images.shape[2]))
    large = cells.repeat_interleave(factor, dim=3).repeat_interleave(factor, dim=4)
    framed = torch.nn.functional.pad(large, (GAP, GAP, GAP, GAP), value=255)
    return framed.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2).contiguous()


def save_sheet(sheet: Tensor, path: Path) -> None:
    """Write a sheet of shape (3, H, W) as a picture."""
    Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy()).save(path)


def _photograph(path: Path | None, size: tuple[int, int]) -> Tensor:
    """Load a photograph, shape (1, 3, H, W); grey where there is none."""
    unknown = torch.full((1, 3, *size), _UNKNOWN, dtype=torch.uint8)
    if path is None:
        return unknown
    try:
        return load_images([path], size)
    except UserError:  # gone or damaged since: the sheet shows the rest
        return unknown
