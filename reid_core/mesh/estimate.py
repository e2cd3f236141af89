"""Pictures to bodies: find the person, decide which way it faces, fit the body model, judge the result.

Letters: N pictures, B people found in them, K landmarks of ``skeleton.LANDMARKS``, H x W pixels of a guidance map.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from reid_core.mesh.body import Bodies, load_body, no_bodies
from reid_core.mesh.camera import Cameras, project
from reid_core.mesh.fit import Evidence, fit_bodies, in_picture
from reid_core.mesh.landmarks import MIRRORED, NUM_LANDMARKS, Array, Picture
from reid_core.mesh.observe import Observation, observe
from reid_core.mesh.orientation import fuse, read_azimuths, turned_to
from reid_core.mesh.outline import join, outline_of
from reid_core.mesh.render import rasterise
from reid_core.mesh.skeleton import LANDMARK_NUMBERS, load_skeleton, phenotypes

# Below, front and back are a matter of luck (see docs/lab/mesh.md): such a person is not turned.
LEAST_CONFIDENCE = 0.3
_GOOD_IOU, _NO_IOU = 0.5, 0.2  # silhouettes that overlap so much cost no confidence; that little, all of it
# Legs that are cut off are squeezed into the picture by the pose network, and no body fits them any more.
_GOOD_REPROJECTION, _NO_REPROJECTION = 0.03, 0.08
# Walls and bushes in which the pose network sees a body have a presence below the first, all but a few people one
# above the second.
_NO_PRESENCE, _FULL_PRESENCE = 0.5, 0.9
# Five landmarks of a head are not five times as good as one, and toes are often guessed.
_HEAD_TRUST, _FOOT_TRUST = 0.4, 0.5
_FIRST_FOOT, _LAST_HEAD = 29, 10
# Rows of the pictures in which silhouettes and masks are compared: more cost time and say the same.
_JUDGED_HEIGHT = 64
_BEYOND_LANDMARKS = 1.1  # a person's height against that from eyes to toes


def estimate_bodies(
    pictures: Sequence[Picture], *, size: tuple[int, int], topology: str, device: torch.device, num_threads: int
) -> Bodies:
    """Estimate the body of the central person in each picture.

    Args:
        pictures: N pictures, 8-bit RGB of any sizes, each (h, w, 3).
        size: Height and width of the guidance maps, in which masks are returned and compared.
        topology: Body mesh.
        device: Where the fit runs.
        num_threads: Of MediaPipe's graphs.

    Returns:
        Bodies in the order of ``pictures``. No picture is an error: one without a person has its status.
    """
    observations = [_observe(picture, num_threads) for picture in pictures]
    known = torch.tensor([one is not None for one in observations], dtype=torch.bool)
    people = [one for one in observations if one is not None]
    if not people:
        return no_bodies(["no_person"] * len(pictures))
    evidence, certainty = gather(people)
    fit = fit_bodies(load_skeleton(device), evidence.to(device)).to(torch.device("cpu"))
    cameras = in_picture(fit.cameras, torch.tensor([one.height / one.width for one in people]))
    kinds = phenotypes(fit.build)
    iou = _overlap(topology, kinds, fit.angles_deg, cameras, [mask_of(one, _judged(size)) for one in people])
    presence = torch.tensor([one.presence for one in people])
    confidence = certainty * _ramp(presence, _NO_PRESENCE, _FULL_PRESENCE) * _ramp(iou, _NO_IOU, _GOOD_IOU)
    confidence = confidence * _ramp(fit.reprojection, _NO_REPROJECTION, _GOOD_REPROJECTION)
    sure = confidence >= LEAST_CONFIDENCE  # the others keep their mask and lose their body
    bodies = Bodies(
        status=tuple("ok" if is_sure else "low_confidence" for is_sure in sure.tolist()),
        confidence=confidence,
        phenotypes=kinds * sure[:, None],
        angles_deg=fit.angles_deg * sure[:, None, None],
        cameras=Cameras(*(field * sure for field in cameras)),
        masks=torch.stack([(mask_of(one, size) * 255).round().to(torch.uint8) for one in people]),
        mask_iou=iou,
        reprojection=fit.reprojection,
    )
    return bodies.spread(known, "no_person")


def _observe(picture: Picture, num_threads: int) -> Observation | None:
    """Observe a picture; None where nobody is, or where the pose network sees a person in a wall."""
    observation = observe(picture, num_threads=num_threads)
    return None if observation is None or observation.presence < _NO_PRESENCE else observation


def gather(people: Sequence[Observation]) -> tuple[Evidence, Tensor]:
    """Put the looks at each of B people together; also returns how certain the azimuth is, 0 to 1, shape (B,)."""
    shape = (2, len(people), NUM_LANDMARKS)  # one or two looks at each person
    world, points, visible = np.zeros((*shape, 3)), np.zeros((*shape, 2)), np.zeros(shape)
    known = np.zeros(shape[:2], dtype=np.bool_)
    for row, person in enumerate(people):
        for place, look in enumerate(person.looks):
            world[place, row], known[place, row] = look.world, True
            points[place, row], visible[place, row] = look.points / person.height, look.visibility
    readings = np.concatenate([read_azimuths(each) for each in world], axis=1)  # (B, 4)
    front = np.array([person.front for person in people])
    azimuth, certainty = fuse(readings, np.repeat(known.T, 2, axis=1), front)
    # World landmarks of both looks are turned to that azimuth, then the looks are averaged.
    share = known / known.sum(axis=0)  # (2, B)
    turned, exchanged = zip(*(turned_to(each, azimuth) for each in world), strict=True)
    swap = np.stack(exchanged)[..., None]
    points = np.where(swap[..., None], points[:, :, MIRRORED], points)
    visible = np.where(swap, visible[:, :, MIRRORED], visible)
    joints = list(LANDMARK_NUMBERS)
    mean_points = np.einsum("lb,lbkx->bkx", share, points)
    trust = _trust(mean_points, np.einsum("lb,lbk->bk", share, visible), people)
    evidence = Evidence(
        points=_float(mean_points[:, joints]),
        trust=_float(trust[:, joints]),
        world=_float(np.einsum("lb,lbkx->bkx", share, np.stack(turned))[:, joints]),
        azimuth_deg=_float(azimuth),
        tall=_float(np.maximum(np.ptp(mean_points[:, joints, 1], axis=1), 0.05) * _BEYOND_LANDMARKS),
        outline=join([outline_of(person.looks[0], height=person.height, width=person.width) for person in people]),
    )
    return evidence, _float(certainty)


def _trust(points: Array, visible: Array, people: Sequence[Observation]) -> Array:
    """Weigh every landmark: (B, 33, 2), (B, 33) to (B, 33). Landmarks outside of the picture were guessed."""
    width = np.array([person.width / person.height for person in people])[:, None]
    inside = (points[..., 0] > 0) & (points[..., 0] < width) & (points[..., 1] > 0) & (points[..., 1] < 1)
    kind = np.ones(points.shape[1])
    kind[: _LAST_HEAD + 1], kind[_FIRST_FOOT:] = _HEAD_TRUST, _FOOT_TRUST
    return np.where(inside, visible * kind, 0.0)


def mask_of(person: Observation, size: tuple[int, int]) -> Tensor:
    """Probability of the person in each pixel of a guidance map, shape (H, W)."""
    look, (height, width) = person.looks[0], size
    # Middles of the map's pixels, in pixels of the picture from the corner of the look's square.
    x = (torch.arange(width) + 0.5) / width * person.width - (look.square.center_x - look.square.side / 2)
    y = (torch.arange(height) + 0.5) / height * person.height - (look.square.center_y - look.square.side / 2)
    down, across = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([across, down], dim=-1) / look.square.side * 2.0 - 1.0
    mask = torch.from_numpy(look.mask)[None, None]
    return grid_sample(mask, grid[None].float(), align_corners=False)[0, 0]


def _judged(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which a silhouette and a mask are compared, not taller than ``_JUDGED_HEIGHT``."""
    height = min(size[0], _JUDGED_HEIGHT)
    return height, max(1, round(size[1] * height / size[0]))


def _overlap(topology: str, kinds: Tensor, angles_deg: Tensor, cameras: Cameras, masks: Sequence[Tensor]) -> Tensor:
    """Intersection over union of the bodies' silhouettes with the masks (h, w), shape (B,)."""
    body = load_body(topology)
    person = torch.stack(list(masks)) > 0.5
    points = project(body.vertices(kinds, angles_deg), cameras)
    drawn = rasterise(points, body.faces, size=(person.shape[1], person.shape[2])).mask
    both, either = (drawn & person).sum(dim=(1, 2)), (drawn | person).sum(dim=(1, 2))
    return both / either.clamp(min=1)


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    """Rise (or fall) linearly from 0 at ``low`` to 1 at ``high``, and stay there."""
    return ((values - low) / (high - low)).clamp(0.0, 1.0)


def _float(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
