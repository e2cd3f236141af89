"""Limb directions: what world landmarks say about a pose, and the angles that follow from them at once.

Letters: B bodies, M limbs, K landmarks of ``skeleton.LANDMARKS``. Directions in camera axes (right, up, away) or body
axes (x to the person's left, facing -y, z up).
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid_core.mesh.body import POSED_BONES
from reid_core.mesh.skeleton import LANDMARK_NUMBERS, ORDER, PARENTS, Skeleton

# Limbs as pairs of BlazePose's landmarks, (from, to); several of them on a side mean their middle.
_SEGMENTS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((23,), (25,)),  # thighs
    ((24,), (26,)),
    ((25,), (27,)),  # shins
    ((26,), (28,)),
    ((11,), (13,)),  # upper arms
    ((12,), (14,)),
    ((13,), (15,)),  # forearms
    ((14,), (16,)),
    ((23, 24), (11, 12)),  # trunk
    ((7, 8), (0,)),  # head
    ((12,), (11,)),  # shoulders
    ((24,), (23,)),  # hips
    ((29,), (31,)),  # feet
    ((30,), (32,)),
)
NUM_LIMBS = len(_SEGMENTS)
_LIMITS_DEG = 100.0


def directions(landmarks: Tensor) -> Tensor:
    """Unit vectors along all limbs: landmarks (B, K, 3) to (B, M, 3)."""
    place = {number: row for row, number in enumerate(LANDMARK_NUMBERS)}
    ends = [[[place[number] for number in end] for end in segment] for segment in _SEGMENTS]
    vectors = [landmarks[:, end].mean(dim=1) - landmarks[:, start].mean(dim=1) for start, end in ends]
    return normalize(torch.stack(vectors, dim=1), dim=-1)


def start_angles(skeleton: Skeleton, wanted: Tensor) -> Tensor:
    """Turn each bone by the smallest rotation that brings its limb into the wanted direction.

    Args:
        skeleton: Of the body.
        wanted: Limb directions in body axes, shape (B, M, 3).

    Returns:
        Angles of ``POSED_BONES`` in degrees, shape (B, 10, 3).
    """
    resting = directions(skeleton.landmarks[len(skeleton.landmarks) // 2, None])[0]  # (M, 3), of the middle build
    turned: dict[int, Tensor] = {-1: torch.eye(3, dtype=wanted.dtype, device=wanted.device).expand(len(wanted), 3, 3)}
    angles = wanted.new_zeros(len(wanted), len(POSED_BONES), 3)
    for bone in ORDER:  # the first ten limbs belong to the posed bones, in their order
        parent = turned[PARENTS[bone]]
        aim = (parent.transpose(1, 2) @ wanted[:, bone, :, None]).squeeze(-1)
        turn = smallest_turn(resting[bone].expand_as(aim), aim)
        angles[:, bone] = euler_angles(turn).clamp(-_LIMITS_DEG, _LIMITS_DEG)
        turned[bone] = parent @ turn
    return angles


def smallest_turn(start: Tensor, end: Tensor) -> Tensor:
    """Rotation by the smallest angle that takes one unit vector to another: (B, 3), (B, 3) to (B, 3, 3)."""
    axis = torch.linalg.cross(start, end)
    cosine = (start * end).sum(dim=-1)[:, None, None]
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)
    identity = torch.eye(3, dtype=start.dtype, device=start.device)
    # Opposite vectors have no smallest rotation; the bound keeps the result finite, and it is only a start.
    return identity + skew + skew @ skew / (1.0 + cosine).clamp(min=1e-2)


def euler_angles(turn: Tensor) -> Tensor:
    """Degrees about x, y, z of rotations Rx Ry Rz, the inverse of ``body.euler_matrices``: (B, 3, 3) to (B, 3)."""
    x = torch.atan2(-turn[:, 1, 2], turn[:, 2, 2])
    y = torch.asin(turn[:, 0, 2].clamp(-1.0, 1.0))
    z = torch.atan2(-turn[:, 0, 1], turn[:, 0, 0])
    return torch.stack([x, y, z], dim=-1).rad2deg()
