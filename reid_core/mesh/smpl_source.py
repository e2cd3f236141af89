"""Bodies that another program estimated as SMPL (HMR, SPIN, PyMAF, 4DHumans), drawn with the user's SMPL file.

Letters: M rows of the program's table, N images, V vertices, H x W pixels.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reid_core.data.images import DAMAGE, FORMATS
from reid_core.errors import UserError
from reid_core.mesh.body import no_bodies
from reid_core.mesh.camera import Cameras, view
from reid_core.mesh.guidance import ANGLES, guidance_maps
from reid_core.mesh.rendered_maps import match_names
from reid_core.mesh.smpl_model import NUM_JOINTS, load_smpl
from reid_core.mesh.sources import Extracted

# Names that the programs use, after "pred_", "smpl_" and folders of a name are taken off.
_NAMES = ("imgname", "imgnames", "img_name", "image_name", "image_path", "img_path", "image", "filename", "file_name")
_POSES = ("pose", "poses", "rotmat", "full_pose")
_ROOTS = ("global_orient", "root_orient")
_BODIES = ("body_pose",)
_SHAPES = ("betas", "shape", "shapes")
_CAMERAS = ("cam", "cams", "camera", "cameras", "weak_cam")
_CONFIDENCES = ("confidence", "score", "scores", "conf")
_THETA = 3 + 3 * NUM_JOINTS + 10  # HMR: camera, pose and shape in one row
_BODIES_A_CALL = 4  # eight views of 13,776 faces each


@dataclass(frozen=True)
class SmplTable:
    """Bodies of M images.

    Attributes:
        names: Of the images, as the table has them.
        rotations: Of the root and 23 joints, shape (M, 24, 3, 3).
        betas: Shape coefficients, shape (M, 10) or more.
        cameras: s, tx, ty of the weak perspective: x = s (X + tx), y = s (Y + ty), where the smallest square around the
            image spans [-1, 1] and y points down, shape (M, 3).
        confidence: From 0 to 1; 1 where the table has none, shape (M,).
        where: The file.
    """

    names: tuple[str, ...]
    rotations: Tensor
    betas: Tensor
    cameras: Tensor
    confidence: Tensor
    where: str

    def __len__(self) -> int:
        return len(self.names)

    def match(self, images: Sequence[Path]) -> list[int | None]:
        """Row of every image, None where there is none or where its numbers are of no use."""
        usable = (
            self.rotations.flatten(1).isfinite().all(1)
            & self.betas.isfinite().all(1)
            & self.cameras.isfinite().all(1)
            & (self.cameras[:, 0] > 0)
        ).tolist()
        rows = match_names(self.names, images, where=self.where)
        return [row if row is not None and usable[row] else None for row in rows]

    def select(self, images: Sequence[Path]) -> "SmplTable":
        """Keep the rows of these images, named by their files."""
        found = [(image, row) for image, row in zip(images, self.match(images), strict=True) if row is not None]
        rows = torch.tensor([row for _, row in found], dtype=torch.long)
        return SmplTable(
            tuple(image.as_posix() for image, _ in found),
            self.rotations[rows],
            self.betas[rows],
            self.cameras[rows],
            self.confidence[rows],
            self.where,
        )


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


def _size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a picture, None when it is none."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except DAMAGE:
        return None


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


def read_smpl_table(path: Path) -> SmplTable:
    """Read a table.

    Args:
        path: ``.npz``, or ``.parquet`` with a list in every cell. Rotations may be axis-angle or matrices, in one array
            or as root and body.

    Returns:
        The table.
    """
    columns = {_plain(name): values for name, values in _columns(path).items()}
    # HMR writes one row of camera, pose and shape.
    if (theta := columns.get("theta")) is not None and theta.reshape(len(theta), -1).shape[1] == _THETA:
        flat = theta.reshape(len(theta), -1)
        columns |= {"cam": flat[:, :3], "pose": flat[:, 3 : 3 + 3 * NUM_JOINTS], "betas": flat[:, 3 + 3 * NUM_JOINTS :]}
    names = _pick(columns, (*_NAMES, "path", "name"))
    root, body = _pick(columns, _ROOTS), _pick(columns, _BODIES)
    pose = _pick(columns, _POSES)
    betas, cameras = _pick(columns, _SHAPES), _pick(columns, _CAMERAS)
    absent = [
        what
        for what, values in {
            "image names (imgname)": names,
            "rotations (pose, or global_orient and body_pose)": pose if root is None or body is None else root,
            "shape (betas)": betas,
            "camera (pred_cam)": cameras,
        }.items()
        if values is None
    ]
    if absent:
        raise UserError(
            f"{path} should hold SMPL bodies, but has no {', no '.join(absent)}, only {', '.join(sorted(columns))}; "
            "write these arrays under the names in brackets"
        )
    assert names is not None and betas is not None and cameras is not None  # noqa: PT018 - for the type checker
    if root is not None and body is not None:
        rotations = torch.cat([_rotations(root, 1, path), _rotations(body, NUM_JOINTS - 1, path)], dim=1)
    else:
        assert pose is not None
        rotations = _rotations(pose, NUM_JOINTS, path)
    confidence = _pick(columns, _CONFIDENCES)
    shape, camera = _floats(betas), _floats(cameras)
    lengths = {"image names": len(names), "rotations": len(rotations), "shape": len(shape), "camera": len(camera)}
    if len(set(lengths.values())) > 1 or camera.shape[1] != 3:
        raise UserError(
            f"{path} should hold one row an image and three numbers a camera, but has {lengths} rows and "
            f"{camera.shape[1]} numbers a camera; write one row an image"
        )
    return SmplTable(
        tuple(str(name) for name in names.tolist()),
        rotations,
        shape,
        camera,
        torch.ones(len(names)) if confidence is None else _floats(confidence)[:, 0].clamp(0, 1),
        str(path),
    )


def _columns(path: Path) -> Mapping[str, NDArray[Any]]:
    """Read the arrays of a file by their names; a UserError when it is no file of plain arrays."""
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            return {name: np.array(table[name].to_pylist()) for name in table.column_names}
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no archive of arrays")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(
            f"{path} should be a .npz or .parquet file of plain arrays, but cannot be read ({reason}); write names "
            "with .astype(str), and everything else as numbers"
        ) from error


def _plain(name: str) -> str:
    """Strip folders and prefixes that the programs put before the names of their arrays."""
    return name.lower().replace("/", ".").split(".")[-1].removeprefix("pred_").removeprefix("smpl_")


def _pick(columns: Mapping[str, NDArray[Any]], names: Sequence[str]) -> NDArray[Any] | None:
    """Return the first of the named columns that is there."""
    return next((columns[name] for name in names if name in columns), None)


def _floats(values: NDArray[Any]) -> Tensor:
    """Flatten the rows of an array: (M, ...) to (M, numbers of a row)."""
    return torch.from_numpy(values.reshape(len(values), -1).astype(np.float32))


def _rotations(values: NDArray[Any], joints: int, path: Path) -> Tensor:
    """Return matrices, shape (M, joints, 3, 3), of axis-angle vectors or matrices in any arrangement."""
    flat = _floats(values)
    if flat.shape[1] == 9 * joints:
        return flat.reshape(-1, joints, 3, 3)
    if flat.shape[1] != 3 * joints:
        raise UserError(
            f"{path} should hold {joints} rotations a row, as 3 numbers (axis-angle) or 9 (matrix) each, but has "
            f"{flat.shape[1]} numbers; SMPL has 24 joints with the root, other body models are not read"
        )
    x, y, z = flat.reshape(-1, joints, 3).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, joints, 3, 3)
    matrices: Tensor = torch.linalg.matrix_exp(cross)
    return matrices
