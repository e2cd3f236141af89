"""The body without its model: joints, landmarks and surface points that follow angles, with gradients.

Posing with Anny costs milliseconds a body and step. A fit needs a few dozen points only, so they are taken out of the
model once for a few builds; from then on turning the ten posed bones is a chain of 3 x 3 products. Posed points equal
Anny's own (the same linear blend skinning), and builds between the given ones are interpolated.

Letters: B bodies, S surface points, K landmarks, P = 11 parts (trunk and ``POSED_BONES``), W builds.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from reid_core.mesh.body import POSED_BONES, load_body

# Which part carries each posed bone; -1 is the trunk. Parents stand before their children in this order.
PARENTS = (-1, -1, 0, 1, 8, 8, 4, 5, -1, 8)
ORDER = (8, 0, 1, 2, 3, 4, 5, 6, 7, 9)
# The surface of the coarsest body is enough to compare an outline.
SURFACE_TOPOLOGY = "notoes_collapse3pc"
# A grown-up whose gender, age, muscle, height and proportions a picture of 50 pixels width does not show. Weight is
# seen as width.
PHENOTYPE = (0.5, 0.67, 0.5, 0.5, 0.5, 0.5)
WEIGHT = 3  # its place among PHENOTYPES
BUILDS = (0.0, 0.5, 1.0)


class Landmark(NamedTuple):
    """A landmark of BlazePose on the body.

    Attributes:
        number: Its place among BlazePose's 33.
        bone: Bone from whose beginning it is measured.
        part: Posed bone that carries it; -1 is the trunk.
        offset: Metres from there, on the person's left side and facing -y.
    """

    number: int
    bone: str
    part: int
    offset: tuple[float, float, float]


def _pair(
    number: int, bone: str, part: tuple[int, int], offset: tuple[float, float, float]
) -> tuple[Landmark, Landmark]:
    """Return the left landmark and its mirror image on the right, whose number is one more."""
    left = Landmark(number, f"{bone}.L", part[0], offset)
    return left, Landmark(number + 1, f"{bone}.R", part[1], (-offset[0], *offset[1:]))


# Offsets: from the bones' beginnings to Anny's COCO key points on its neutral body (its regressor needs the full mesh).
LANDMARKS = (
    Landmark(0, "head", 9, (0.0, -0.110, 0.011)),  # nose
    Landmark(2, "eye.L", 9, (0.0, -0.012, 0.002)),
    Landmark(5, "eye.R", 9, (0.0, -0.012, 0.002)),
    Landmark(7, "head", 9, (0.074, -0.007, 0.023)),  # ears
    Landmark(8, "head", 9, (-0.074, -0.007, 0.023)),
    *_pair(11, "upperarm01", (8, 8), (-0.011, 0.002, 0.021)),  # shoulders
    *_pair(13, "lowerarm01", (6, 7), (-0.006, -0.004, 0.006)),  # elbows
    *_pair(15, "wrist", (6, 7), (-0.006, -0.002, 0.002)),
    *_pair(23, "upperleg01", (-1, -1), (-0.014, -0.016, -0.025)),  # hips
    *_pair(25, "lowerleg01", (2, 3), (0.005, 0.003, -0.009)),  # knees
    *_pair(27, "foot", (2, 3), (0.002, 0.001, 0.020)),  # ankles
    *_pair(29, "foot", (2, 3), (0.005, 0.037, -0.036)),  # heels
    *_pair(31, "foot", (2, 3), (0.005, -0.165, -0.053)),  # toes
)
LANDMARK_NUMBERS = tuple(mark.number for mark in LANDMARKS)


class Posed(NamedTuple):
    """Posed bodies in their own axes, metres.

    Attributes:
        landmarks: In the order of ``LANDMARKS``, shape (B, K, 3).
        surface: Shape (B, S, 3).
    """

    landmarks: Tensor
    surface: Tensor


@dataclass(frozen=True)
class Skeleton:
    """Points of the body for a few builds.

    Attributes:
        joints: Where posed bones begin, shape (W, 10, 3).
        landmarks: Before posing, shape (W, K, 3).
        moments: See ``reid_core.mesh.body.Reference``, shape (W, S, P, 3).
        weights: Shape (S, P).
    """

    joints: Tensor
    landmarks: Tensor
    moments: Tensor
    weights: Tensor

    def pose(self, turns: Tensor, build: Tensor) -> Posed:
        """Turn the posed bones.

        Args:
            turns: Rotation of each bone of ``POSED_BONES`` against its parent, body axes, shape (B, 10, 3, 3).
            build: Weight of the person, 0 to 1, shape (B,).
        """
        share = _shares(build)  # (B, W)
        joints = torch.einsum("bw,wjx->bjx", share, self.joints)
        marks = torch.einsum("bw,wkx->bkx", share, self.landmarks)
        whole, shift = _chain(turns, joints)  # (B, P, 3, 3), (B, P, 3)
        part = [mark.part + 1 for mark in LANDMARKS]
        landmarks = (whole[:, part] @ marks[..., None]).squeeze(-1) + shift[:, part]
        moments = torch.einsum("bw,wspx->bspx", share, self.moments)
        surface = torch.einsum("bpyx,bspx->bsy", whole, moments) + torch.einsum("sp,bpx->bsx", self.weights, shift)
        return Posed(landmarks, surface)


def _shares(build: Tensor) -> Tensor:
    """Return weights of ``BUILDS`` that interpolate between neighbours: (B,) to (B, W)."""
    known = build.new_tensor(BUILDS)
    return (1.0 - (build[:, None] - known).abs() / (known[1] - known[0])).clamp(min=0.0)


def _chain(turns: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Return turn and shift of every part, trunk first: a point x of part p goes to turn[p] x + shift[p]."""
    whole = {-1: torch.eye(3, dtype=turns.dtype, device=turns.device).expand(len(turns), 3, 3)}
    shift = {-1: torch.zeros_like(joints[:, 0])}
    for bone in ORDER:
        parent, joint = PARENTS[bone], joints[:, bone, :, None]
        whole[bone] = whole[parent] @ turns[:, bone]
        # The joint stays with the parent; the part turns about it.
        placed = (whole[parent] @ joint).squeeze(-1) + shift[parent]
        shift[bone] = placed - (whole[bone] @ joint).squeeze(-1)
    parts = range(-1, len(POSED_BONES))
    return torch.stack([whole[part] for part in parts], dim=1), torch.stack([shift[part] for part in parts], dim=1)


def phenotypes(build: Tensor) -> Tensor:
    """Return the phenotypes of people of these builds, for ``Body.vertices``: (B,) to (B, 6)."""
    values = build.new_tensor(PHENOTYPE).repeat(len(build), 1)
    values[:, WEIGHT] = build
    return values


@lru_cache(maxsize=2)
def load_skeleton(device: torch.device) -> Skeleton:
    """Take the points out of the body model, once per process and device."""
    body = load_body(SURFACE_TOPOLOGY)
    reference = body.reference(phenotypes(torch.tensor(BUILDS)), [mark.bone for mark in LANDMARKS])
    marks = reference.marks + torch.tensor([mark.offset for mark in LANDMARKS])
    tensors = (reference.joints, marks, reference.moments, reference.weights)
    return Skeleton(*(tensor.to(device) for tensor in tensors))
