from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from reid_core.errors import UserError
from reid_core.mesh.camera import project
from reid_core.mesh.smpl_source import SmplSource, SmplTable, read_smpl_table, upright
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


RNG = np.random.default_rng(0)
AXES = RNG.normal(0, 0.7, (2, 24, 3)).astype(np.float32)
BETAS, CAMERAS = RNG.normal(0, 1, (2, 10)).astype(np.float32), np.array([[0.9, 0, 0.1], [1.1, 0.2, 0]], np.float32)
NAMES = np.array(["train/a.png", "train/b.png"])


def rodrigues(axis: np.ndarray) -> np.ndarray:
    """Rotation by its formula, one vector at a time."""
    angle = float(np.linalg.norm(axis))
    x, y, z = axis / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turned


MATRICES = np.array([[rodrigues(axis) for axis in row] for row in AXES]).astype(np.float32)

WRITTEN = {
    "HMR": {"theta": np.concatenate([CAMERAS, AXES.reshape(2, 72), BETAS], axis=1), "image_path": NAMES},
    "SPIN": {"pose": AXES.reshape(2, 72), "betas": BETAS, "camera": CAMERAS, "imgname": NAMES},
    "PyMAF": {"pose": MATRICES, "betas": BETAS, "pred_cam": CAMERAS, "image_name": NAMES, "bboxes": np.ones((2, 4))},
    "4DHumans": {
        "pred_smpl_params.global_orient": MATRICES[:, :1],
        "pred_smpl_params.body_pose": MATRICES[:, 1:],
        "pred_smpl_params.betas": BETAS,
        "pred_cam": CAMERAS,
        "imgname": NAMES,
    },
    "axis-angle in two": {
        "global_orient": AXES[:, 0],
        "body_pose": AXES[:, 1:].reshape(2, 69),
        "shape": BETAS,
        "cam": CAMERAS,
        "name": NAMES,
    },
}


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("program", list(WRITTEN))
def test_tables_as_programs_write_them(tmp_path: Path, program: str) -> None:
    table = read_smpl_table(write(tmp_path / "a.npz", **WRITTEN[program]))
    assert table.names == ("train/a.png", "train/b.png")
    torch.testing.assert_close(table.rotations, torch.from_numpy(MATRICES), atol=1e-5, rtol=0)
    torch.testing.assert_close(table.betas, torch.from_numpy(BETAS))
    torch.testing.assert_close(table.cameras, torch.from_numpy(CAMERAS))
    assert table.confidence.tolist() == [1.0, 1.0]


def test_parquet_and_confidence(tmp_path: Path) -> None:
    columns = {name: values.tolist() for name, values in WRITTEN["SPIN"].items()} | {"score": [0.25, 3.0]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = read_smpl_table(tmp_path / "a.parquet")
    torch.testing.assert_close(table.rotations, torch.from_numpy(MATRICES), atol=1e-5, rtol=0)
    assert table.confidence.tolist() == [0.25, 1.0]


def test_rows_are_chosen_by_image(tmp_path: Path) -> None:
    spin = dict(WRITTEN["SPIN"])
    spin["camera"] = np.array([[0.9, 0, 0.1], [-1.0, 0, 0]])  # the second person would stand on the head
    table = read_smpl_table(write(tmp_path / "a.npz", **spin))
    images = [Path("/data/train/b.jpg"), Path("/data/train/a.jpg"), Path("/data/train/c.jpg")]
    assert table.match(images) == [None, 0, None]
    chosen = table.select(images)
    assert chosen.names == ("/data/train/a.jpg",)
    assert len(chosen) == 1
    assert torch.equal(chosen.betas, table.betas[:1])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"imgname": None}, r"no image names \(imgname\)"),
        ({"pose": None, "betas": None}, r"no rotations .*, no shape \(betas\), only camera, imgname"),
        ({"pose": np.zeros((2, 66))}, "24 rotations a row, as 3 numbers .* or 9 .* but has 66 numbers"),
        ({"camera": np.zeros((2, 4))}, "three numbers a camera, but has .* 4 numbers"),
        ({"betas": np.zeros((3, 10))}, "one row an image"),
        ({"imgname": np.array(["a", "b"], dtype=object)}, r"\.astype\(str\)"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    arrays = {name: values for name, values in {**WRITTEN["SPIN"], **changed}.items() if values is not None}
    with pytest.raises(UserError, match=sentence):
        read_smpl_table(write(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize("name", ["a.npz", "a.parquet"])
def test_what_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no table")
    with pytest.raises(UserError, match="cannot be read"):
        read_smpl_table(tmp_path / name)
    np.save(tmp_path / "one.npy", AXES)
    with pytest.raises(UserError, match="cannot be read"):
        read_smpl_table(tmp_path / "one.npy")
