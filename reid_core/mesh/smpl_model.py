"""The SMPL body of users who have its file. The only module that knows the package smplx.

Letters: B bodies, V = 6890 vertices, F faces.
"""

import contextlib
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid_core.errors import UserError
from reid_core.mesh.smpl_file import read_smpl_file


class SmplBodies(NamedTuple):
    """Posed bodies in the axes that their global rotation leads to (of a camera: right, down, away); metres.

    Attributes:
        vertices: Shape (B, V, 3).
        pelvis: Root joint, shape (B, 3).
    """

    vertices: Tensor
    pelvis: Tensor


@dataclass(frozen=True)
class SmplModel:
    """A loaded model.

    Attributes:
        faces: Vertex indices, counter-clockwise seen from outside, shape (F, 3).
        num_betas: Shape coefficients that it knows.
    """

    faces: Tensor
    num_betas: int
    model: Any

    def pose(self, rotations: Tensor, betas: Tensor) -> SmplBodies:
        """Shape and pose bodies.

        Args:
            rotations: Of the root and the 23 other joints, shape (B, 24, 3, 3).
            betas: Shape coefficients, shape (B, >= 1).

        Returns:
            The bodies.
        """
        shape = betas.new_zeros(len(betas), self.num_betas)
        count = min(self.num_betas, betas.shape[1])
        shape[:, :count] = betas[:, :count]
        with torch.no_grad():
            out = self.model(betas=shape, global_orient=rotations[:, :1], body_pose=rotations[:, 1:], pose2rot=False)
        return SmplBodies(out.vertices, out.joints[:, 0])


def check_smpl_model(path: Path) -> None:
    """Raise a UserError when the package is not installed or the file is no SMPL model."""
    _package()
    read_smpl_file(path)


@lru_cache(maxsize=1)
def load_smpl(path: Path) -> SmplModel:
    """Load the user's SMPL file, once a process."""
    smplx = _package()
    arrays = read_smpl_file(path)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how many shape coefficients there are
        model = smplx.SMPL(
            model_path="",
            data_struct=smplx.utils.Struct(**arrays),
            create_betas=False,
            create_global_orient=False,
            create_body_pose=False,
            create_transl=False,
        )
    faces = torch.from_numpy(arrays["f"].astype(np.int64))
    return SmplModel(faces, int(model.num_betas), model.float())


def _package() -> Any:
    try:
        import smplx
    except ImportError as error:
        raise UserError(
            "mesh.source=smpl wants the package smplx, which is not installed; pip install 'genvar[smpl]', or use "
            "mesh.source=estimate"
        ) from error
    return smplx
