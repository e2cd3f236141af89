"""How people walk: joint angles of one moment of a walk."""

import numpy as np
from numpy.typing import NDArray

from reid_core.mesh.body import POSED_BONES


def draw_pose(random: np.random.Generator) -> NDArray[np.float32]:
    """Draw a moment of somebody's walk.

    Args:
        random: Of one picture.

    Returns:
        Degrees about x, y, z of every bone of ``POSED_BONES``, shape (10, 3).
    """
    phase = random.uniform(0.0, 2 * np.pi)
    stride = random.uniform(4.0, 26.0)
    swing = stride * random.uniform(0.6, 1.2)
    bend = random.uniform(-24.0, 8.0)
    lowered = random.uniform(36.0, 44.0)
    moved = {
        # A leg swings about x (negative is forward); its knee bends most while it swings forward.
        "upperleg01.L": (stride * np.sin(phase), 7.0, 0.0),
        "upperleg01.R": (-stride * np.sin(phase), -7.0, 0.0),
        "lowerleg01.L": (stride * (0.9 + 0.9 * np.cos(phase)) * 0.7, 0.0, 0.0),
        "lowerleg01.R": (stride * (0.9 - 0.9 * np.cos(phase)) * 0.7, 0.0, 0.0),
        # Arms hang down and swing against the legs.
        "upperarm01.L": (-swing * np.sin(phase), lowered, 0.0),
        "upperarm01.R": (swing * np.sin(phase), -lowered, 0.0),
        "lowerarm01.L": (-bend, 0.0, 0.0),
        "lowerarm01.R": (-bend - random.uniform(-8.0, 8.0), 0.0, 0.0),
        "spine03": (random.uniform(-2.0, 6.0), 0.0, random.uniform(-6.0, 6.0)),
        "neck01": (random.uniform(-8.0, 12.0), 0.0, random.uniform(-25.0, 25.0)),
    }
    return np.asarray([moved[bone] for bone in POSED_BONES], dtype=np.float32)
