"""The contact sheet of a mesh cache: some of its images, and how their meshes lie on them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from reid_core.data.images import load_images
from reid_core.errors import UserError
from reid_core.mesh.cache import MeshCache
from reid_core.mesh.guidance import ANGLES
from reid_core.mesh.sheet import guidance_sheet

NAME = "guidance.png"
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


def save_sheet(sheet: Tensor, path: Path) -> None:
    """Write a sheet of shape (3, H, W) as a picture."""
    Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy()).save(path)


def _photograph(path: Path | None, size: tuple[int, int]) -> Tensor:
    unknown = torch.full((1, 3, *size), _UNKNOWN, dtype=torch.uint8)
    if path is None:
        return unknown
    try:
        return load_images([path], size)
    except UserError:  # gone or damaged since: the sheet shows the rest
        return unknown
