"""Reading the user's SMPL file without running what is in it.

SMPL is distributed as a pickle that wraps arrays in objects of chumpy, a package that no longer installs. A pickle can
also run any program. Here only arrays, sparse matrices and stand-ins for chumpy's objects are let through.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from reid_core.errors import UserError

# What smplx needs, with the number of axes of each.
FIELDS = {"v_template": 2, "shapedirs": 3, "posedirs": 3, "weights": 2, "J_regressor": 2, "f": 2, "kintree_table": 2}
NUM_JOINTS, NUM_VERTICES = 24, 6890
_WHAT = (
    "download SMPL for Python from the website of its authors (smpl.is.tue.mpg.de) and name its .pkl or .npz file, or "
    "use mesh.source=estimate, which needs none"
)


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
