from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_core.mesh.camera import project
from reid_core.mesh.smpl_source import SmplSource, SmplTable, upright
from tests.reid_core.mesh.fake_smpl import write_npz

STANDING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # y up becomes y down, and the front looks at the camera


def about_vertical(degrees: float) -> torch.Tensor:
    """A turn about the camera's downward axis, which moves a face that looks at the camera to the right."""
    angle = np.deg2rad(degrees)
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return torch.tensor([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 180.0, -120.0])
def test_the_projection_is_that_of_the_weak_perspective(degrees: float) -> None:
    random = torch.Generator().manual_seed(0)
    root = about_vertical(degrees) @ STANDING
    vertices = torch.randn(1, 50, 3, generator=random) @ root.T
    pelvis, weak = torch.tensor([[0.02, -0.2, 0.1]]), torch.tensor([[0.9, 0.05, -0.1]])
    upright_vertices, cameras = upright(vertices, pelvis, root[None], weak, torch.tensor([[64.0, 128.0]]))
    assert float(cameras.azimuth_deg) % 360 == pytest.approx(degrees % 360, abs=1e-3)
    # By hand: pixels from the centre of the picture in units of half its longer side.
    seen = weak[0, 0] * (vertices[0, :, :2] + weak[0, 1:]) * 64 + torch.tensor([32.0, 64.0])
    projected = project(upright_vertices, cameras)[0, :, :2] * torch.tensor([64.0, 128.0])
    torch.testing.assert_close(projected, seen, atol=1e-3, rtol=0)


def test_an_unturned_body_faces_minus_y_whatever_the_camera_saw() -> None:
    nose = torch.tensor([[[0.0, 0.5, 0.3]]])  # up and to the front, in SMPL's axes
    for degrees in (0.0, 75.0):
        root = about_vertical(degrees) @ STANDING
        stood, _ = upright(nose @ root.T, torch.zeros(1, 3), root[None], torch.ones(1, 3), torch.ones(1, 2))
        torch.testing.assert_close(stood[0, 0], torch.tensor([0.0, -0.3, 0.5]), atol=1e-5, rtol=0)


def test_images_of_the_table_are_drawn_and_others_are_not(tmp_path: Path) -> None:
    model = write_npz(tmp_path / "model.npz")
    images = [tmp_path / f"{name}.png" for name in ("facing", "stranger", "profile", "broken")]
    for path in images:
        Image.new("RGB", (64, 128)).save(path)
    images[3].write_bytes(b"no picture")
    known = [images[0], images[2], images[3]]
    rotations = torch.eye(3).repeat(3, 24, 1, 1)
    rotations[:, 0] = STANDING
    rotations[1, 0] = about_vertical(90.0) @ STANDING
    table = SmplTable(
        tuple(path.as_posix() for path in known),
        rotations,
        torch.zeros(3, 10),
        torch.tensor([[1.0, 0.0, 0.35]] * 3),
        torch.tensor([0.5, 0.75, 1.0]),
        "table",
    )
    bodies, maps = SmplSource(table, model)(images, size=(64, 32), num_threads=1)
    assert bodies.status == ("ok", "no_mesh", "ok", "unreadable")
    assert bodies.confidence.tolist() == [0.5, 0.0, 0.75, 0.0]
    assert bodies.cameras.azimuth_deg[[0, 2]].tolist() == pytest.approx([0.0, 90.0], abs=1e-3)
    assert not maps[1].any()
    assert not maps[3].any()
    # The nose of the profile points to the right of the picture; turned back by 270 degrees it is the facing view.
    covered = (maps[2, 0] > 0).float()
    rows = covered.sum(dim=1).nonzero().flatten()
    head = covered[rows[0] : rows[0] + 10].any(dim=0).nonzero().flatten()
    trunk = covered[rows[0] + 20].nonzero().flatten()
    assert int(head.max()) > int(trunk.max()) + 1
    assert ((maps[2, 6] > 0) != (maps[0, 0] > 0)).float().mean() < 0.01
