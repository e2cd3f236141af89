"""A body model with the shape of SMPL's file and none of its content, for tests."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

NUM_VERTICES, NUM_JOINTS, NUM_RINGS = 6890, 24, 106
PER_RING = 65  # 106 rings of 65 are all vertices
PELVIS_HEIGHT = -0.2  # metres above the origin, as SMPL has it below


def fake_smpl() -> dict[str, NDArray[Any]]:
    """Return a tube 1.7 m tall and 0.4 m wide with a nose in front, y up and z to the front, as arrays."""
    rng = np.random.default_rng(0)
    ring, place = np.divmod(np.arange(NUM_VERTICES), PER_RING)
    turn = 2 * np.pi * place / PER_RING
    height = 0.5 - 1.7 * ring / (NUM_RINGS - 1)
    width = 0.2 * np.sin(np.pi * (ring + 0.5) / NUM_RINGS) ** 0.25
    nose = 0.3 * np.exp(-(((height - 0.4) / 0.06) ** 2)) * np.exp(-((turn - np.pi / 2) ** 2) / 0.02)
    template = np.stack([width * np.cos(turn), height, 0.5 * width * np.sin(turn) + nose], axis=1)
    upper = np.arange(NUM_VERTICES - PER_RING)
    following = ring[: len(upper)] * PER_RING + (place[: len(upper)] + 1) % PER_RING
    below, below_following = upper + PER_RING, following + PER_RING
    faces = np.concatenate([np.stack([upper, following, below], 1), np.stack([following, below_following, below], 1)])
    regressor = np.zeros((NUM_JOINTS, NUM_VERTICES))
    nearest = np.argsort(np.abs(height[:, None] - np.linspace(PELVIS_HEIGHT, 0.4, NUM_JOINTS)), axis=0)[: 2 * PER_RING]
    np.put_along_axis(regressor, nearest.T, 1 / (2 * PER_RING), axis=1)
    weights = np.zeros((NUM_VERTICES, NUM_JOINTS))
    weights[:, 0] = 1.0  # the root carries everything
    return {
        "v_template": template,
        "shapedirs": rng.normal(0, 1e-3, (NUM_VERTICES, 3, 10)),
        "posedirs": np.zeros((NUM_VERTICES, 3, 9 * (NUM_JOINTS - 1))),
        "weights": weights,
        "J_regressor": regressor,
        "f": faces.astype(np.uint32),
        "kintree_table": np.stack([np.maximum(np.arange(NUM_JOINTS) - 1, 0), np.arange(NUM_JOINTS)]).astype(np.int64),
    }


def write_npz(path: Path) -> Path:
    """Write the model as ``.npz``."""
    np.savez_compressed(path, **fake_smpl())  # type: ignore[arg-type]
    return path


def write_pickle(path: Path) -> Path:
    """Write the model as its authors do, but for chumpy: the regressor is sparse."""
    arrays: dict[str, Any] = fake_smpl()
    arrays["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    path.write_bytes(pickle.dumps({**arrays, "bs_type": "lrotmin"}, protocol=2))
    return path
