"""The direction that a person faces: readings of several looks, weighed by how such looks err.

BlazePose gives a body seen from behind a face now and then: of back views it takes a good part for front views, or
turns them to the side on the way there; of front views next to none. So a look that says "front" is weaker than one
that says "back", and whether the head shows a face (``observe.front_evidence``) decides between the two. All of it is
put together as a likelihood on a circle of azimuths.

Letters: N people, C readings of an azimuth, A azimuths of the circle, K = 33 landmarks. Azimuths as in
``reid_core.mesh.camera``; world landmarks as in ``reid_core.mesh.landmarks``: right, down, away.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_core.mesh.landmarks import MIRRORED, Array

NOSE, EARS, SHOULDERS, HIPS = 0, (7, 8), (11, 12), (23, 24)
_STEP_DEG = 3.0
_CONCENTRATION = 11.0  # of a reading about the truth: a deviation of 17 degrees
_MIRRORED = 0.3  # of readings of a back view: front and back confused
_BETWEEN = 0.3  # of readings of a back view: anywhere on the way to the front
_ANYWHERE = 0.03
# Readings of one picture err together, so all of them count as this many.
_INDEPENDENT_READINGS = 1.0
_SAME_MODE = np.cos(np.deg2rad(76.0))  # no multiple of the step, so that rounding decides nothing


class Orientation(NamedTuple):
    """Azimuths of N people.

    Attributes:
        azimuth_deg: Middle of the likeliest direction, shape (N,).
        certainty: Length of the mean direction: 1 when all agree, near 0 between front and back, shape (N,).
    """

    azimuth_deg: Array
    certainty: Array


def read_azimuths(world: Array) -> Array:
    """Read the azimuth off world landmarks, once from shoulders and hips, once from the nose: (N, K, 3) to (N, 2)."""
    across = world[:, SHOULDERS[0]] - world[:, SHOULDERS[1]] + world[:, HIPS[0]] - world[:, HIPS[1]]
    ahead = world[:, NOSE] - world[:, EARS].mean(axis=1)
    line = np.arctan2(across[:, 2], across[:, 0])
    nose = np.arctan2(ahead[:, 0], -ahead[:, 2])
    azimuths: Array = np.rad2deg(np.stack([line, nose], axis=1))
    return azimuths


def fuse(readings_deg: Array, known: NDArray[np.bool_], front: Array) -> Orientation:
    """Put readings and the head's evidence together.

    Args:
        readings_deg: Azimuths, shape (N, C).
        known: False where a look found nobody, shape (N, C); at least one is True in every row.
        front: Logarithm of the odds that the head is seen from the front, 0 when unknown, shape (N,).
    """
    circle = np.deg2rad(np.arange(0.0, 360.0, _STEP_DEG))
    each = _log_likelihood(np.deg2rad(readings_deg), circle)  # (N, C, A)
    count = known.sum(axis=1)
    weight = np.where(known, (_INDEPENDENT_READINGS / np.maximum(count, 1))[:, None], 0.0)
    # The evidence tells front from back and says nothing about the side.
    total = np.einsum("nc,nca->na", weight, each) + 0.5 * front[:, None] * np.cos(circle)
    chance = np.exp(total - total.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    peak = circle[total.argmax(axis=1)]
    near = chance * (np.cos(circle - peak[:, None]) > _SAME_MODE)
    azimuth = np.arctan2(near @ np.sin(circle), near @ np.cos(circle))
    return Orientation(np.rad2deg(azimuth), np.hypot(chance @ np.sin(circle), chance @ np.cos(circle)))


def _log_likelihood(reading: Array, circle: Array) -> Array:
    """Logarithm of the density of readings (N, C) given each true azimuth (A,): shape (N, C, A)."""
    back = np.clip(-np.cos(circle), 0.0, 1.0)
    right = _bell(reading[..., None] - circle)
    mirrored = _bell(reading[..., None] - (np.pi - circle))
    cosine, sine = np.cos(reading)[..., None], np.sin(reading)[..., None]
    # On the same side of the body; straight from behind, either side is.
    between = (np.abs(cosine) < back) & (sine * np.sin(circle) > -1e-9)
    width = np.maximum(2.0 * np.arcsin(back), 0.3)
    density = (
        (1.0 - (_MIRRORED + _BETWEEN) * back - _ANYWHERE) * right
        + _MIRRORED * back * mirrored
        + _BETWEEN * back * between / width
        + _ANYWHERE / (2.0 * np.pi)
    )
    logarithm: Array = np.log(density)
    return logarithm


def _bell(angle: Array) -> Array:
    """Von Mises density, normalised as a Gaussian (close enough at this concentration)."""
    density: Array = np.exp(_CONCENTRATION * (np.cos(angle) - 1.0)) * np.sqrt(_CONCENTRATION / (2.0 * np.pi))
    return density


def turned_to(world: Array, azimuth_deg: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Make world landmarks face the azimuth that was decided on.

    Where front and back were confused the skeleton is mirrored in depth and its sides are exchanged; the picture of
    it stays the same then. The rest is a turn about the vertical axis.

    Args:
        world: Shape (N, K, 3).
        azimuth_deg: Shape (N,).

    Returns:
        Turned landmarks (N, K, 3), and where left and right were exchanged (N,).
    """
    flipped = world[:, MIRRORED] * (1.0, 1.0, -1.0)
    line, other = read_azimuths(world)[:, 0], read_azimuths(flipped)[:, 0]
    exchanged = np.cos(np.deg2rad(other - azimuth_deg)) > np.cos(np.deg2rad(line - azimuth_deg))
    world = np.where(exchanged[:, None, None], flipped, world)
    turn = np.deg2rad(azimuth_deg - np.where(exchanged, other, line))[:, None]
    x, y, z = world[..., 0], world[..., 1], world[..., 2]
    turned = np.stack([x * np.cos(turn) - z * np.sin(turn), y, x * np.sin(turn) + z * np.cos(turn)], axis=-1)
    return turned, exchanged
