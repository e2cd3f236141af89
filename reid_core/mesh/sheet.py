"""A picture that shows whether meshes fit: photograph, person seen, mesh over photograph, the seven turns."""

import torch
from torch import Tensor

SMALLEST = 128  # pixels of height below which a photograph is enlarged
GAP = 2


def guidance_sheet(images: Tensor, maps: Tensor, masks: Tensor | None = None) -> Tensor:
    """Draw one row an image.

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
    factor = max(1, -(-SMALLEST // images.shape[2]))
    large = cells.repeat_interleave(factor, dim=3).repeat_interleave(factor, dim=4)
    framed = torch.nn.functional.pad(large, (GAP, GAP, GAP, GAP), value=255)
    return framed.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2).contiguous()
