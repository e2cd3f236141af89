"""The SMPL body of users who have its file. The only module that knows the package smplx.

SMPL is distributed as a pickle that wraps arrays in objects of chumpy, a package that no longer installs. A pickle can
also run any program. Here only arrays, sparse matrices and stand-ins for chumpy's objects are let through.

Letters: B bodies, V = 6890 vertices, F faces.
"""

import contextlib
import io
import pickle
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_core.errors import UserError

# What smplx needs, with the number of axes of each.
FIELDS = {"v_template": 2, "shapedirs": 3, "posedirs": 3, "weights": 2, "J_regressor": 2, "f": 2, "kintree_table": 2}
NUM_JOINTS, NUM_VERTICES = 24, 6890
_WHAT = (
    "download SMPL for Python from the website of its authors (smpl.is.tue.mpg.de) and name its .pkl or .npz file, or "
    "use mesh.source=estimate, which needs none"
)


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


def read_smpl_file(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an SMPL model.

    Args:
        path: ``.pkl`` as the authors distribute it, or ``.npz`` with the same names.

    Returns:
        The arrays of ``FIELDS``.
    """
    try:
        content = _read_npz(path) if zipfile.is_zipfile(path) else _read_pickle(path)
        arrays = {name: _array(content[name]) for name in FIELDS}
    except FileNotFoundError as error:
        raise UserError(f"mesh.smpl_model names {path}, which does not exist; {_WHAT}") from error
    except _ForeignPickleError as error:
        raise UserError(f"{path} is no SMPL model (it wants to load {error}); {_WHAT}") from error
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        raise UserError(f"{path} is no SMPL model ({reason}); {_WHAT}") from error
    wrong = [f"{name} {arrays[name].shape}" for name, axes in FIELDS.items() if arrays[name].ndim != axes]
    shapes = (arrays["v_template"].shape, arrays["J_regressor"].shape, arrays["weights"].shape)
    if wrong or shapes != ((NUM_VERTICES, 3), (NUM_JOINTS, NUM_VERTICES), (NUM_VERTICES, NUM_JOINTS)):
        found = ", ".join(wrong) or f"{shapes[0][0]} vertices, {shapes[1][0]} joints"
        raise UserError(
            f"{path} is no SMPL model: {NUM_VERTICES} vertices and {NUM_JOINTS} joints were wanted, {found} came; "
            f"{_WHAT}"
        )
    return arrays


class _ForeignPickleError(ValueError):
    """The pickle holds something that an SMPL model does not."""


class _Chumpy:
    """Stands for an object of chumpy; its value is the array that it was made from."""

    def __init__(self, *_: object) -> None:
        self.x: NDArray[Any] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.x = state.get("x")


class _Unpickler(pickle.Unpickler):
    """Loads the classes of an SMPL model and no others."""

    def find_class(self, module: str, name: str) -> Any:
        root = module.split(".")[0]
        if root == "chumpy":
            return _Chumpy
        if root == "scipy" and name in ("csc_matrix", "csr_matrix", "coo_matrix"):
            return getattr(scipy.sparse, name)
        if root == "numpy" and name in ("ndarray", "dtype", "_reconstruct", "scalar"):
            return super().find_class(module, name)
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor"), ("_codecs", "encode")):
            return super().find_class(module, name)
        if (module, name) in (("__builtin__", "object"), ("builtins", "object")):
            return object
        raise _ForeignPickleError(f"{module}.{name}")


def _read_pickle(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        content = _Unpickler(stream, encoding="latin1").load()
    if not isinstance(content, dict):
        raise ValueError(f"a dictionary was wanted, {type(content).__name__} came")
    return content


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in FIELDS}


def _array(value: Any) -> NDArray[Any]:
    if isinstance(value, _Chumpy):
        value = value.x
    if scipy.sparse.issparse(value):
        value = value.toarray()
    array = np.asarray(value)
    if array.dtype == object:
        raise ValueError("an array holds objects; convert the file with the script clean_ch.py of smplx")
    return array
