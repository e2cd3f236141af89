"""All photographs of one person: body, paint, light, scene and camera, in this order.

The pictures of a person are computed as one batch, so that they do not depend on how people are dealt to shards.
Letters: P pictures of the person, V vertices, H x W pixels of a picture.
"""

from dataclasses import dataclass

import numpy as np
import torch

from reid_core.data.synthetic import scene
from reid_core.data.synthetic.camera import SurveillanceCamera, develop, draw_camera, encode
from reid_core.data.synthetic.clothes import paint
from reid_core.data.synthetic.person import Array, Person, draw_person, draw_pose
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.mesh.body import Body, load_body
from reid_core.mesh.camera import Cameras, project, view
from reid_core.mesh.render import Fragments, interpolate, rasterise, vertex_normals
from reid_core.seeds import derive_seed

SUPERSAMPLING = 2  # rendered pixels a pixel, along each side
PREFERRED_SHARE = 0.9  # share of a camera's pictures that show its own side
SIDE_SPREAD_DEG = 50.0
MAX_STRETCH = 1.4  # width of a person by height, against the true proportion


@dataclass(frozen=True)
class Photograph:
    """One picture with the truth about it.

    Attributes:
        camera_id: From 0.
        index: Number among this person's pictures, from 0.
        jpeg: Bytes of the file.
        pose: Joint angles in degrees, shape (10, 3).
        camera: Projection of the picture, in the order of ``Cameras``.
    """

    camera_id: int
    index: int
    jpeg: bytes
    pose: Array
    camera: tuple[float, ...]


@dataclass(frozen=True)
class Sitting:
    """One person before P cameras, with all draws made but those of scene and development.

    Attributes:
        person: Identity.
        body: Body model, whose topology the vertices have.
        vertices: Posed bodies, shape (P, V, 3).
        poses: Joint angles in degrees, shape (P, 10, 3).
        framed: Projections of the pictures, P of them.
        camera_ids: Camera of each picture, from 0.
        cameras: The same P cameras.
        randoms: Source of each picture's further draws.
    """

    person: Person
    body: Body
    vertices: torch.Tensor
    poses: Array
    framed: Cameras
    camera_ids: list[int]
    cameras: list[SurveillanceCamera]
    randoms: list[np.random.Generator]


def draw_sitting(settings: SyntheticSettings, person_id: int) -> Sitting:
    """Draw one person, the cameras the person passes, and how the person stands before each."""
    person = draw_person(settings.seed, person_id)
    body = load_body(settings.topology)
    camera_ids = _passed_cameras(settings, person_id)
    randoms = [
        np.random.default_rng(derive_seed(settings.seed, "picture", person_id, camera_id, index))
        for index, camera_id in enumerate(camera_ids)
    ]
    cameras = [draw_camera(settings.seed, camera_id, settings.num_cameras) for camera_id in camera_ids]
    poses = np.stack([draw_pose(random) for random in randoms])
    phenotypes = torch.tensor(person.phenotype).repeat(len(poses), 1)
    vertices = body.vertices(phenotypes, torch.from_numpy(poses))
    framed = _frame(vertices, cameras, randoms, settings.image_height / settings.image_width)
    return Sitting(person, body, vertices, poses, framed, camera_ids, cameras, randoms)


def photograph_person(settings: SyntheticSettings, person_id: int) -> list[Photograph]:
    """Photograph one person as often as the settings say, spread over the cameras the person passes."""
    sitting = draw_sitting(settings, person_id)
    figures, coverage = paint_figures(sitting, sitting.vertices, sitting.framed, sitting.cameras, settings)
    photographs = []
    for index, camera_id in enumerate(sitting.camera_ids):
        camera, random = sitting.cameras[index], sitting.randoms[index]
        light = compose(figures[index], coverage[index], settings, camera_id, camera, random)
        jpeg = encode(develop(light, camera, random), camera)
        truth = tuple(float(field[index]) for field in sitting.framed)
        photographs.append(Photograph(camera_id, index, jpeg, sitting.poses[index], truth))
    return photographs


def _passed_cameras(settings: SyntheticSettings, person_id: int) -> list[int]:
    """Draw the camera of each picture: everybody passes at least two cameras, most people nearly all."""
    random = np.random.default_rng(derive_seed(settings.seed, "passed", person_id))
    most = min(settings.num_cameras, settings.images_per_person // 2)
    passed = random.permutation(settings.num_cameras)[: random.integers(max(2, most - 1), most + 1)]
    return sorted(int(passed[index % len(passed)]) for index in range(settings.images_per_person))


def _frame(
    vertices: torch.Tensor, cameras: list[SurveillanceCamera], randoms: list[np.random.Generator], aspect: float
) -> Cameras:
    """Place P bodies in their pictures as a detector's boxes would, with jitter; ``aspect`` is height by width."""
    azimuths, elevations = [], []
    for camera, random in zip(cameras, randoms, strict=True):
        preferred = random.random() < PREFERRED_SHARE
        spread = SIDE_SPREAD_DEG if preferred else 180.0
        azimuths.append((camera.side_deg + random.uniform(-spread, spread)) % 360.0)
        elevations.append(camera.elevation_deg + random.uniform(-2.0, 2.0))
    azimuth, elevation = torch.tensor(azimuths), torch.tensor(elevations)
    right, up, _ = view(vertices, azimuth, elevation).unbind(-1)  # (P, V) each, in metres
    fill = torch.tensor([random.uniform(0.90, 0.99) for random in randoms])
    shift_x = torch.tensor([random.uniform(-0.04, 0.04) for random in randoms])
    shift_y = torch.tensor([random.uniform(-0.012, 0.012) for random in randoms])
    tall, wide = up.amax(1) - up.amin(1), right.amax(1) - right.amin(1)
    scale_y = fill / tall
    # Boxes are drawn around people and resized to one shape: slim views are stretched, wide strides squeezed.
    scale_x = torch.minimum(scale_y * aspect * MAX_STRETCH, 0.94 / wide)
    center_x = 0.5 + shift_x - scale_x * (right.amax(1) + right.amin(1)) / 2
    center_y = 0.5 + shift_y + scale_y * (up.amax(1) + up.amin(1)) / 2
    return Cameras(azimuth, elevation, scale_x, scale_y, center_x, center_y)


def paint_figures(
    sitting: Sitting,
    vertices: torch.Tensor,
    framed: Cameras,
    cameras: list[SurveillanceCamera],
    settings: SyntheticSettings,
) -> tuple[Array, Array]:
    """Paint and light a person in B views.

    Args:
        sitting: Person and body model.
        vertices: Posed bodies, shape (B, V, 3).
        framed: Projections of the views, B of them.
        cameras: Cameras whose light falls, B of them.
        settings: Size of the pictures.

    Returns:
        Light multiplied by the coverage, shape (B, H, W, 3), and the coverage from 0 to 1, shape (B, H, W, 1).
    """
    person, body = sitting.person, sitting.body
    fine = (settings.image_height * SUPERSAMPLING, settings.image_width * SUPERSAMPLING)
    fragments = rasterise(project(vertices, framed), body.faces, size=fine)
    rest_normals = vertex_normals(body.canonical[None], body.faces)
    # For each of N covered pixels: its place and normal on the body in rest pose, hence its colour.
    rest = interpolate(fragments, body.faces, torch.cat([body.canonical[None], rest_normals], dim=-1))  # (N, 6)
    colours = paint(person, rest[:, :3].numpy(), -rest[:, 4].numpy())
    lit = colours * _light(fragments, body, vertices, framed, cameras)[:, None]  # (N, 3)
    pictures = np.zeros((*fragments.face.shape, 4), dtype=np.float32)
    pictures[fragments.mask.numpy()] = np.concatenate([lit, np.ones_like(lit[:, :1])], axis=1)
    size = (len(cameras), settings.image_height, SUPERSAMPLING, settings.image_width, SUPERSAMPLING, 4)
    pictures = pictures.reshape(size).mean(axis=(2, 4), dtype=np.float32)  # (B, H, W, 4)
    return pictures[..., :3], pictures[..., 3:]


def _light(
    fragments: Fragments,
    body: Body,
    vertices: torch.Tensor,
    framed: Cameras,
    cameras: list[SurveillanceCamera],
) -> Array:
    """Return the brightness of N covered pixels, shape (N,): ambient light plus one light of the camera's scene."""
    normals = view(vertex_normals(vertices, body.faces), framed.azimuth_deg, framed.elevation_deg)
    lights = torch.tensor([camera.light_deg for camera in cameras]).deg2rad()
    towards = torch.stack([lights.sin() * 0.8, torch.full_like(lights, 0.6), -lights.cos() * 0.8], dim=-1)  # (B, 3)
    facing = torch.nn.functional.normalize(interpolate(fragments, body.faces, normals), dim=-1)
    owner = fragments.mask.nonzero()[:, 0]  # view of each covered pixel, (N,)
    brightness: Array = (0.5 + 0.6 * (facing * towards[owner]).sum(dim=-1).clamp(min=0)).numpy()
    return brightness


def compose(
    figure: Array,
    coverage: Array,
    settings: SyntheticSettings,
    camera_id: int,
    camera: SurveillanceCamera,
    random: np.random.Generator,
    *,
    occluders: bool = True,
) -> Array:
    """Put the person before one of the camera's scenes, with a soft shadow at the feet, behind what stands in the way.

    Args:
        figure: Light of the person, multiplied by the coverage, shape (H, W, 3).
        coverage: From 0 to 1, shape (H, W, 1).
        settings: Seed, and size of the picture.
        camera_id: Camera whose scenes are used, from 0.
        camera: The same camera.
        random: Source of randomness of this one picture; the same draws are made with and without occluders.
        occluders: Whether something may stand in the way.

    Returns:
        Light, shape (H, W, 3).
    """
    height, width = settings.image_height, settings.image_width
    index = int(random.integers(scene.SCENES_PER_CAMERA))
    light = scene.crop(scene.scene(settings.seed, camera_id, index, height, width), height, width, random)
    covered_rows = np.flatnonzero(coverage.max(axis=(1, 2)) > 0.5)
    feet = covered_rows[-1] if len(covered_rows) else height
    rows, columns = np.arange(height)[:, None] - feet, np.arange(width)[None, :] - width / 2
    light *= 1 - 0.45 * np.exp(-((rows / (0.03 * height)) ** 2) - (columns / (0.3 * width)) ** 2)[..., None]
    light = figure + light * (1 - coverage)
    if random.random() < camera.occlusion:
        scene.occlude(light if occluders else light.copy(), random)
    return light.astype(np.float32)
