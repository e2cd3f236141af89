"""What is known of the bodies in a few images, whoever found them.

Letters: N images, H x W pixels of the guidance maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_core.mesh.body import PHENOTYPES, POSED_BONES
from reid_core.mesh.camera import Cameras

# ok: there is a mesh. no_person: nobody was found. low_confidence: somebody, too unsure to be turned. unreadable: no
# picture. failed: the image ended its process twice. no_mesh: no source knows this image.
STATUSES = ("ok", "no_person", "low_confidence", "unreadable", "failed", "no_mesh")


@dataclass(frozen=True)
class Bodies:
    """Bodies of N images. Rows whose status is not ``ok`` hold zeros.

    Attributes:
        status: One of ``STATUSES`` for each image, N of them.
        confidence: From 0 to 1; 1 for the truth, shape (N,).
        phenotypes: In the order of ``PHENOTYPES``, shape (N, 6).
        angles_deg: Turns of ``POSED_BONES``, shape (N, 10, 3).
        cameras: Fields of shape (N,).
        masks: The person that was seen in the image, 0 or 255 (or soft between), at the size of the guidance maps,
            uint8, shape (N, H, W); None where nobody looked.
        mask_iou: Intersection over union of the rendered silhouette and the mask, nan where unknown, shape (N,).
        reprojection: Mean distance of the projected joints from the landmarks that were seen, as a fraction of the
            person's height, nan where unknown, shape (N,).
    """

    status: tuple[str, ...]
    confidence: Tensor
    phenotypes: Tensor
    angles_deg: Tensor
    cameras: Cameras
    masks: Tensor | None
    mask_iou: Tensor
    reprojection: Tensor

    def __len__(self) -> int:
        return len(self.status)

    @property
    def found(self) -> Tensor:
        """True where there is a mesh, shape (N,)."""
        return torch.tensor([status == "ok" for status in self.status], dtype=torch.bool)


def no_bodies(status: Sequence[str]) -> Bodies:
    """Return N rows without a body, each with its reason."""
    unknown = sorted(set(status) - set(STATUSES))
    assert not unknown, unknown
    count = len(status)
    return Bodies(
        status=tuple(status),
        confidence=torch.zeros(count),
        phenotypes=torch.zeros(count, len(PHENOTYPES)),
        angles_deg=torch.zeros(count, len(POSED_BONES), 3),
        cameras=Cameras(*(torch.zeros(count) for _ in Cameras._fields)),
        masks=None,
        mask_iou=torch.full((count,), float("nan")),
        reprojection=torch.full((count,), float("nan")),
    )
