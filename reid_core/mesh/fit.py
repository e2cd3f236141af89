"""Fit bodies to their evidence: landmarks in the picture, limb directions, outlines.

A maximum a posteriori fit: every term is a squared distance in units of how far such a thing is usually off. The
start are the angles that follow at once from the directions of limbs, the rest a few dozen steps of Adam over all
bodies of a batch at once; each body has its own steps and nothing of its neighbours.

Letters: B bodies, K landmarks of ``skeleton.LANDMARKS``, M limbs, S surface points. Directions in camera axes (right,
up, away) or body axes (x to the person's left, facing -y, z up).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid_core.mesh.body import POSED_BONES, euler_matrices
from reid_core.mesh.camera import Cameras, view
from reid_core.mesh.outline import Outline, sticking_out, uncovered
from reid_core.mesh.skeleton import LANDMARK_NUMBERS, ORDER, PARENTS, Posed, Skeleton

STEPS = 50
_OUTLINE_FROM = 20  # steps; before, the body is not where its outline is
_RATE = {"angles": 0.06, "view": 0.05, "frame": 0.012, "build": 0.2}
_LAST_RATE = 0.2

# How far off things usually are. Lengths as fractions of the person's height, angles in degrees.
_POINT, _POINT_BOUND = 0.015, 3.0
_DIRECTION = 16.0
_OUTSIDE, _UNCOVERED, _OUTLINE_BOUND = 0.015, 0.015, 3.0
_OUTLINE_COUNT = 30.0  # neighbouring outline points err together
_AZIMUTH, _ELEVATION, _STRETCH, _BUILD = 6.0, 7.0, 0.08, 0.4
ELEVATION_DEG = 8.0  # of a camera above heads, before anything is seen
_HINGE = 4.0  # knees bend backwards only
_BALANCE = 0.05  # metres: people stand over their feet, which depth as seen in one picture does not say

# People who walk or stand: mean and deviation of each bone's angles about x, y, z, degrees.
_HABITS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "upperleg01.L": ((0.0, 6.0, 0.0), (30.0, 8.0, 12.0)),
    "upperleg01.R": ((0.0, -6.0, 0.0), (30.0, 8.0, 12.0)),
    "lowerleg01.L": ((18.0, 0.0, 0.0), (28.0, 4.0, 5.0)),
    "lowerleg01.R": ((18.0, 0.0, 0.0), (28.0, 4.0, 5.0)),
    "upperarm01.L": ((0.0, 38.0, 0.0), (35.0, 25.0, 20.0)),
    "upperarm01.R": ((0.0, -38.0, 0.0), (35.0, 25.0, 20.0)),
    "lowerarm01.L": ((5.0, 0.0, 0.0), (40.0, 15.0, 25.0)),
    "lowerarm01.R": ((5.0, 0.0, 0.0), (40.0, 15.0, 25.0)),
    "spine03": ((2.0, 0.0, 0.0), (9.0, 5.0, 9.0)),
    "neck01": ((0.0, 0.0, 0.0), (12.0, 6.0, 22.0)),
}

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
_LIMIT_DEG = 100.0  # of a start angle


class Evidence(NamedTuple):
    """Landmarks and outlines of B people, to which bodies are fitted.

    Lengths in heights of their pictures, from the upper left corner.

    Attributes:
        points: Landmarks in the picture, x and y, shape (B, K, 2).
        trust: Weight of each landmark, 0 to 1, shape (B, K).
        world: Landmarks in metres, right, down and away, turned to the azimuth, shape (B, K, 3).
        azimuth_deg: Which way people face, shape (B,).
        tall: Height of the people, shape (B,).
        outline: Of the person masks.
    """

    points: Tensor
    trust: Tensor
    world: Tensor
    azimuth_deg: Tensor
    tall: Tensor
    outline: Outline

    def to(self, device: torch.device) -> "Evidence":
        """Copy to another device."""
        outline = Outline(*(field.to(device) for field in self.outline))
        return Evidence(
            self.points.to(device),
            self.trust.to(device),
            self.world.to(device),
            self.azimuth_deg.to(device),
            self.tall.to(device),
            outline,
        )


class Fit(NamedTuple):
    """Fitted bodies; a camera's ``scale`` and ``center`` are in picture heights.

    Attributes:
        angles_deg: Shape (B, 10, 3).
        build: Weight of the people, 0 to 1, shape (B,).
        cameras: As for square pictures; see ``in_picture``.
        reprojection: Mean distance of trusted landmarks, fraction of the person's height, shape (B,).
    """

    angles_deg: Tensor
    build: Tensor
    cameras: Cameras
    reprojection: Tensor

    def to(self, device: torch.device) -> "Fit":
        """Copy to another device."""
        cameras = Cameras(*(field.to(device) for field in self.cameras))
        return Fit(self.angles_deg.to(device), self.build.to(device), cameras, self.reprojection.to(device))


def fit_bodies(skeleton: Skeleton, evidence: Evidence, *, steps: int = STEPS) -> Fit:
    """Fit one body to each person.

    Args:
        skeleton: On the device of ``evidence``.
        evidence: Of B people.
        steps: Of the optimiser.
    """
    state = _start(skeleton, evidence)
    optimiser = torch.optim.Adam([{"params": [tensor], "lr": _RATE[name]} for name, tensor in state.items()])
    rates = [group["lr"] for group in optimiser.param_groups]
    for step in range(steps):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * (1.0 - (1.0 - _LAST_RATE) * step / steps)
        optimiser.zero_grad()
        energy = _energy(skeleton, evidence, state, outlined=step >= _OUTLINE_FROM).sum()
        torch.autograd.backward(energy)
        optimiser.step()
    with torch.no_grad():
        posed, cameras, angles, build = _pose(skeleton, state)
        away = (_project(posed.landmarks, cameras) - evidence.points).norm(dim=-1)  # (B, K)
        mean = (away * evidence.trust).sum(dim=1) / evidence.trust.sum(dim=1).clamp(min=1e-6)
    return Fit(angles, build, Cameras(*(field.detach() for field in cameras)), mean / evidence.tall)


def in_picture(cameras: Cameras, aspect: Tensor) -> Cameras:
    """Express cameras in fractions of the pictures' width; ``aspect`` is height by width, shape (B,)."""
    return cameras._replace(scale_x=cameras.scale_x * aspect, center_x=cameras.center_x * aspect)


def _start(skeleton: Skeleton, evidence: Evidence) -> dict[str, Tensor]:
    """Angles from limb directions, frame from the landmarks; everything in numbers of about one."""
    right, up, away = _upwards(evidence.world).unbind(-1)
    azimuth = evidence.azimuth_deg.deg2rad()[:, None]
    world = [right * azimuth.cos() + away * azimuth.sin(), away * azimuth.cos() - right * azimuth.sin(), up]
    angles = start_angles(skeleton, directions(torch.stack(world, dim=-1)))  # (B, 10, 3)
    habit, spread = _habits(angles)
    angles = torch.minimum(torch.maximum(angles, habit - 2.0 * spread), habit + 2.0 * spread)
    elevation = torch.full_like(evidence.azimuth_deg, ELEVATION_DEG)
    build = torch.full_like(elevation, 0.5)
    posed = skeleton.pose(euler_matrices(angles), build)
    drawn = view(posed.landmarks, evidence.azimuth_deg, elevation)[..., :2] * posed.landmarks.new_tensor([1.0, -1.0])
    # Least squares of a scale and a shift between drawn and observed landmarks.
    weight = (evidence.trust / evidence.trust.sum(dim=1, keepdim=True).clamp(min=1e-6))[..., None]
    middle, goal = (weight * drawn).sum(dim=1), (weight * evidence.points).sum(dim=1)  # (B, 2)
    centred = drawn - middle[:, None]
    scale = (weight * centred * (evidence.points - goal[:, None])).sum(dim=(1, 2))
    scale = (scale / (weight * centred.square()).sum(dim=(1, 2)).clamp(min=1e-6)).clamp(min=0.05)
    frame = torch.stack([scale.log(), torch.zeros_like(scale), *(goal - scale[:, None] * middle).unbind(-1)], dim=-1)
    state = {
        "angles": angles.deg2rad(),
        "view": torch.stack([evidence.azimuth_deg, elevation], dim=-1).deg2rad(),
        "frame": frame,  # log scale, log stretch, center x, center y
        "build": torch.zeros_like(build),  # before the sigmoid
    }
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in state.items()}


def _pose(skeleton: Skeleton, state: dict[str, Tensor]) -> tuple[Posed, Cameras, Tensor, Tensor]:
    """Pose the bodies of a state: points, cameras, angles in degrees (B, 10, 3) and builds (B,)."""
    build = state["build"].sigmoid()
    angles = state["angles"].rad2deg()
    azimuth, elevation = state["view"].rad2deg().unbind(-1)
    log_scale, log_stretch, center_x, center_y = state["frame"].unbind(-1)
    cameras = Cameras(azimuth, elevation, (log_scale + log_stretch).exp(), log_scale.exp(), center_x, center_y)
    return skeleton.pose(euler_matrices(angles), build), cameras, angles, build


def _project(points: Tensor, cameras: Cameras) -> Tensor:
    """Body axes to picture heights: (B, K, 3) to (B, K, 2)."""
    right, up, _ = view(points, cameras.azimuth_deg, cameras.elevation_deg).unbind(-1)
    x = cameras.center_x[:, None] + cameras.scale_x[:, None] * right
    return torch.stack([x, cameras.center_y[:, None] - cameras.scale_y[:, None] * up], dim=-1)


def _energy(skeleton: Skeleton, evidence: Evidence, state: dict[str, Tensor], *, outlined: bool) -> Tensor:
    """Half the sum of squared, scaled residuals of every body, shape (B,)."""
    posed, cameras, angles, build = _pose(skeleton, state)
    # Landmarks lie where the picture shows them.
    tall = evidence.tall[:, None]
    away = (_project(posed.landmarks, cameras) - evidence.points).square().sum(dim=-1).add(1e-10).sqrt() / tall
    energy = (evidence.trust * _bounded(away / _POINT, _POINT_BOUND)).sum(dim=1)

    # Limbs point where the world landmarks say.
    aimed = view(directions(posed.landmarks), cameras.azimuth_deg, cameras.elevation_deg)  # (B, M, 3)
    apart = (aimed - directions(_upwards(evidence.world))).square().sum(dim=-1)  # about the squared angle
    sigma = torch.deg2rad(apart.new_tensor(_DIRECTION))
    energy = energy + 0.5 * (apart / sigma.square()).sum(dim=1) * evidence.trust.mean(dim=1)

    # People stand and walk as people do.
    habit, spread = _habits(angles)
    energy = energy + 0.5 * ((angles - habit) / spread).square().sum(dim=(1, 2))
    knees = angles[:, 2:4, 0]
    energy = energy + 0.5 * (knees.clamp(max=0.0) / _HINGE).square().sum(dim=1)
    shoulders = [LANDMARK_NUMBERS.index(number) for number in (11, 12)]
    feet = [LANDMARK_NUMBERS.index(number) for number in (27, 28)]
    lean = (posed.landmarks[:, shoulders].mean(dim=1) - posed.landmarks[:, feet].mean(dim=1))[:, :2]
    energy = energy + 0.5 * (lean / _BALANCE).square().sum(dim=1)

    # Camera and build stay near what is usual.
    turned = ((state["view"][:, 0] - evidence.azimuth_deg.deg2rad()).rad2deg()) / _AZIMUTH
    raised = (cameras.elevation_deg - ELEVATION_DEG) / _ELEVATION
    stretched, built = state["frame"][:, 1] / _STRETCH, (build - 0.5) / _BUILD
    energy = energy + 0.5 * (turned.square() + raised.square() + stretched.square() + built.square())
    return energy + _outline_energy(evidence, posed, cameras) if outlined else energy


def _outline_energy(evidence: Evidence, posed: Posed, cameras: Cameras) -> Tensor:
    """Keep the body inside of the outline and let it fill it, shape (B,)."""
    surface = _project(posed.surface, cameras)
    tall = evidence.tall[:, None]
    out = _bounded(sticking_out(evidence.outline, surface) / tall / _OUTSIDE, _OUTLINE_BOUND).mean(dim=1)
    bare = _bounded(uncovered(evidence.outline, surface) / tall / _UNCOVERED, _OUTLINE_BOUND)
    covered = bare.sum(dim=1) / evidence.outline.known.sum(dim=1).clamp(min=1)
    return _OUTLINE_COUNT * (out + covered)


def _bounded(residual: Tensor, bound: float) -> Tensor:
    """Huber: half the square up to the bound, then linear, so that what is quite wrong does not rule."""
    size = residual.abs()
    return torch.where(size <= bound, 0.5 * size.square(), bound * (size - 0.5 * bound))


def _upwards(world: Tensor) -> Tensor:
    """Right, down, away to right, up, away: shape (..., 3)."""
    return world * world.new_tensor([1.0, -1.0, 1.0])


def _habits(like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the angles of people who walk or stand, degrees, shape (10, 3) each."""
    mean = like.new_tensor([_HABITS[bone][0] for bone in POSED_BONES])
    spread = like.new_tensor([_HABITS[bone][1] for bone in POSED_BONES])
    return mean, spread


def directions(landmarks: Tensor) -> Tensor:
    """Return unit vectors along all limbs: landmarks (B, K, 3) to (B, M, 3)."""
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
        angles[:, bone] = euler_angles(turn).clamp(-_LIMIT_DEG, _LIMIT_DEG)
        turned[bone] = parent @ turn
    return angles


def smallest_turn(start: Tensor, end: Tensor) -> Tensor:
    """Return the rotation by the smallest angle that takes one unit vector to another: (B, 3), (B, 3) to (B, 3, 3)."""
    axis = torch.linalg.cross(start, end)
    cosine = (start * end).sum(dim=-1)[:, None, None]
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)
    identity = torch.eye(3, dtype=start.dtype, device=start.device)
    # Opposite vectors have no smallest rotation; the bound keeps the result finite, and it is only a start.
    return identity + skew + skew @ skew / (1.0 + cosine).clamp(min=1e-2)


def euler_angles(turn: Tensor) -> Tensor:
    """Invert ``body.euler_matrices``: rotations Rx Ry Rz (B, 3, 3) to degrees about x, y, z (B, 3)."""
    x = torch.atan2(-turn[:, 1, 2], turn[:, 2, 2])
    y = torch.asin(turn[:, 0, 2].clamp(-1.0, 1.0))
    z = torch.atan2(-turn[:, 0, 1], turn[:, 0, 0])
    return torch.stack([x, y, z], dim=-1).rad2deg()
