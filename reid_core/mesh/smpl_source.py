"""Bodies that another program estimated as SMPL, drawn with the user's SMPL file.

Letters: N images, V vertices, H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from reid_core.data.images import DAMAGE, FORMATS
from reid_core.mesh.bodies import no_bodies
from reid_core.mesh.camera import Cameras, view
from reid_core.mesh.extracted import Extracted
from reid_core.mesh.guidance import ANGLES, guidance_maps
from reid_core.mesh.smpl_model import load_smpl
from reid_core.mesh.smpl_table import SmplTable

_BODIES_A_CALL = 4  # eight views of 13,776 faces each


@dataclass(frozen=True)
class SmplSource:
    """Knows the bodies of images from a table.

    Attributes:
        table: Its rows for these images.
        model: The user's SMPL file.
        device: That draws, as torch names it.
    """

    table: SmplTable
    model: Path
    device: str = "cpu"

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Pose and draw the bodies of the images that the table knows."""
        rows = {name: row for row, name in enumerate(self.table.names)}
        sizes = [_size(path) if path.as_posix() in rows else None for path in images]
        status = [
            "no_mesh" if path.as_posix() not in rows else "unreadable" if pixels is None else "ok"
            for path, pixels in zip(images, sizes, strict=True)
        ]
        bodies = no_bodies(status)
        maps = torch.zeros(len(images), len(ANGLES), *size, dtype=torch.uint8)
        confidence = torch.zeros(len(images))
        fields = torch.zeros(len(Cameras._fields), len(images))
        if "ok" not in status:
            return Extracted(bodies, maps)
        model, device = load_smpl(self.model), torch.device(self.device)
        for index in torch.split(bodies.found.nonzero().flatten(), _BODIES_A_CALL):
            wanted = torch.tensor([rows[images[i].as_posix()] for i in index.tolist()])
            posed = model.pose(self.table.rotations[wanted], self.table.betas[wanted])
            pixels = torch.tensor([sizes[i] for i in index.tolist()], dtype=torch.float32)
            vertices, cameras = upright(
                posed.vertices, posed.pelvis, self.table.rotations[wanted, 0], self.table.cameras[wanted], pixels
            )
            here = Cameras(*(field.to(device) for field in cameras))
            maps[index] = guidance_maps(vertices.to(device), model, here, size=size).cpu()
            confidence[index] = self.table.confidence[wanted]
            fields[:, index] = torch.stack(list(cameras))
        return Extracted(replace(bodies, confidence=confidence, cameras=Cameras(*fields)), maps)


def upright(vertices: Tensor, pelvis: Tensor, root: Tensor, weak: Tensor, pixels: Tensor) -> tuple[Tensor, Cameras]:
    """Take bodies out of the axes of their cameras.

    Such programs say nothing of how high the camera stands, so a body turns about the picture's vertical axis.

    Args:
        vertices: Right, down, away, shape (N, V, 3).
        pelvis: The same axes, shape (N, 3).
        root: Rotation of the body into these axes, shape (N, 3, 3).
        weak: s, tx, ty, see ``SmplTable.cameras``, shape (N, 3).
        pixels: Width and height of the images, shape (N, 2).

    Returns:
        Vertices in body axes (x left side, facing -y, z up), the pelvis at the origin, and the cameras.
    """
    facing = root[..., 2]  # SMPL looks along its z axis
    azimuth = torch.atan2(facing[:, 0], -facing[:, 2]).rad2deg()
    right, down, away = (vertices - pelvis[:, None]).unbind(-1)
    unturned = view(torch.stack([right, away, -down], dim=-1), -azimuth, torch.zeros_like(azimuth))
    right, up, away = unturned.unbind(-1)

    scale, shift_x, shift_y = weak.unbind(-1)
    half = pixels.amax(dim=1) / 2  # of the smallest square around the image
    width, height = pixels.unbind(-1)
    cameras = Cameras(
        azimuth_deg=azimuth,
        elevation_deg=torch.zeros_like(azimuth),
        scale_x=scale * half / width,
        scale_y=scale * half / height,
        center_x=0.5 + scale * (pelvis[:, 0] + shift_x) * half / width,
        center_y=0.5 + scale * (pelvis[:, 1] + shift_y) * half / height,
    )
    return torch.stack([right, away, up], dim=-1), cameras


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture, None when it is none."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except DAMAGE:
        return None
