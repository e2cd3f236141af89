import io

import numpy as np
import torch
from PIL import Image

from reid_core.data.synthetic.camera import draw_camera
from reid_core.data.synthetic.person import draw_person
from reid_core.data.synthetic.photograph import PREFERRED_SHARE, SIDE_SPREAD_DEG, photograph_person
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.mesh.body import load_body
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import guidance_maps

SETTINGS = SyntheticSettings(
    num_train_people=4,
    num_test_people=2,
    images_per_person=6,
    image_height=64,
    image_width=32,
    topology="notoes_collapse3pc",
)


def test_a_person_is_photographed_again_alike() -> None:
    one, two = photograph_person(SETTINGS, 3), photograph_person(SETTINGS, 3)
    assert [photograph.jpeg for photograph in one] == [photograph.jpeg for photograph in two]
    assert one[0].jpeg != one[1].jpeg


def test_every_person_passes_two_cameras_that_mostly_see_their_own_side() -> None:
    aside = []
    for person_id in range(1, 9):
        photographs = photograph_person(SETTINGS, person_id)
        assert len(photographs) == 6
        assert len({photograph.camera_id for photograph in photographs}) >= 2
        for photograph in photographs:
            side = draw_camera(SETTINGS.seed, photograph.camera_id, SETTINGS.num_cameras).side_deg
            aside.append(abs((photograph.camera[0] - side + 180.0) % 360.0 - 180.0))
    assert np.mean(np.asarray(aside) <= SIDE_SPREAD_DEG) > PREFERRED_SHARE - 0.1


def test_the_true_mesh_lies_on_the_person_in_the_picture() -> None:
    body = load_body(SETTINGS.topology)
    for person_id in (1, 2, 3):
        photographs = photograph_person(SETTINGS, person_id)
        person = draw_person(SETTINGS.seed, person_id)
        vertices = body.vertices(
            torch.tensor(person.phenotype).repeat(6, 1),
            torch.from_numpy(np.stack([photograph.pose for photograph in photographs])),
        )
        truth = torch.tensor([photograph.camera for photograph in photographs])
        maps = guidance_maps(vertices, body, Cameras(*truth.unbind(dim=1)), angles=(0,), size=(64, 32))[:, 0]
        rows = (maps > 0).any(dim=2).float().mean(dim=1)
        columns = (maps > 0).any(dim=1).float().mean(dim=1)
        assert float(rows.min()) > 0.8  # the person fills the frame
        assert float(columns.min()) > 0.4
        # Inside the mesh the pictures of one person share their colours more than outside of it.
        pictures = np.stack([np.asarray(Image.open(io.BytesIO(p.jpeg)), dtype=float) for p in photographs])
        covered = (maps > 0).numpy()
        for picture, mask in zip(pictures, covered, strict=True):
            edge = np.abs(np.diff(picture.sum(axis=2), axis=1))
            border = mask[:, 1:] != mask[:, :-1]
            assert edge[border].mean() > 1.5 * edge[~border & ~mask[:, 1:]].mean()
