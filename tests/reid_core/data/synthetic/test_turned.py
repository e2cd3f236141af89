import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from reid_core.data.synthetic.person import draw_person
from reid_core.data.synthetic.photograph import photograph_person
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.turned import turned_pictures
from reid_core.mesh.body import load_body
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import ANGLES, guidance_maps

SETTINGS = SyntheticSettings(
    num_train_people=4,
    num_test_people=2,
    images_per_person=6,
    image_height=64,
    image_width=32,
    topology="notoes_collapse3pc",
)


def test_unturned_is_the_photograph_without_noise() -> None:
    # Scene, exposure and colours are drawn again alike; grain and compression, which the blur takes away, and
    # occluders are missing.
    away = []
    for person_id in (1, 2, 3):
        photographs = [
            _smooth(np.asarray(Image.open(io.BytesIO(p.jpeg)))) for p in photograph_person(SETTINGS, person_id)
        ]
        again = [_smooth(picture) for picture in turned_pictures(SETTINGS, person_id, range(6), [0]).pictures[:, 0]]
        away += [np.abs(one - two).mean() for one, two in zip(photographs, again, strict=True)]
        assert np.abs(photographs[0] - again[5]).mean() > 15  # another picture of the same person
    assert np.median(away) < 3
    assert np.percentile(away, 70) < 5  # about every sixth picture has an occluder


def test_silhouettes_are_those_of_the_guidance() -> None:
    body, photographs = load_body(SETTINGS.topology), photograph_person(SETTINGS, 2)
    phenotype = torch.tensor(draw_person(SETTINGS.seed, 2).phenotype).repeat(6, 1)
    vertices = body.vertices(phenotype, torch.from_numpy(np.stack([p.pose for p in photographs])))
    cameras = Cameras(*torch.tensor([p.camera for p in photographs]).unbind(dim=1))
    maps = guidance_maps(vertices, body, cameras, size=(64, 32)).numpy() > 0
    seen = turned_pictures(SETTINGS, 2, range(6), ANGLES).coverage > 0.5
    overlap = (maps & seen).sum(axis=(2, 3)) / (maps | seen).sum(axis=(2, 3))
    assert overlap.shape == (6, 8)
    assert overlap.min() > 0.9


def test_pictures_are_chosen_by_index_and_in_any_order() -> None:
    both = turned_pictures(SETTINGS, 1, [4, 1], [90, 180])
    alone = turned_pictures(SETTINGS, 1, [1], [180])
    assert both.pictures.shape == (2, 2, 64, 32, 3)
    assert both.coverage.shape == (2, 2, 64, 32)
    assert np.abs(both.pictures[1, 1].astype(int) - alone.pictures[0, 0]).mean() < 1
    assert np.abs(both.pictures[1, 0].astype(int) - alone.pictures[0, 0]).mean() > 2


def test_nothing_stands_in_the_way() -> None:
    # The whole person is seen from every side: a person who is turned covers about as many pixels.
    covered = turned_pictures(SETTINGS, 3, range(6), ANGLES)
    body_pixels = covered.coverage.sum(axis=(2, 3))
    assert body_pixels.min() > 0.4 * body_pixels.max()


def _smooth(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    smooth: NDArray[np.float64] = gaussian_filter(picture.astype(np.float64), sigma=(2, 2, 0))
    return smooth
