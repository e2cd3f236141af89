"""Bodies for tests of what stores and reads them."""

import torch

from reid_core.mesh.body import Bodies
from reid_core.mesh.cache import CacheInfo
from reid_core.mesh.camera import Cameras

INFO = CacheInfo(digest="d", manifest="m", source="estimate", topology="notoes_collapse3pc", height=6, width=4)


def some_bodies(*status: str, seed: int = 0) -> Bodies:
    """Return random rows; those that are not ok hold zeros."""
    random = torch.Generator().manual_seed(seed)
    count = len(status)
    found = torch.tensor([word == "ok" for word in status]).float()
    return Bodies(
        status=status,
        confidence=torch.rand(count, generator=random),
        phenotypes=torch.rand(count, 6, generator=random) * found[:, None],
        angles_deg=torch.rand(count, 10, 3, generator=random) * found[:, None, None],
        cameras=Cameras(*(torch.rand(count, generator=random) * found for _ in Cameras._fields)),
        masks=(torch.rand(count, 6, 4, generator=random) > 0.5).to(torch.uint8) * 255,
        mask_iou=torch.rand(count, generator=random),
        reprojection=torch.full((count,), float("nan")),
    )


def some_maps(count: int = 3) -> torch.Tensor:
    """Return random maps of eight angles, 6 x 4 pixels."""
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 8, 6, 4), generator=random, dtype=torch.uint8)
