import torch

from reid_core.mesh.camera import Cameras, project, view

FRONT = torch.tensor([[[0.0, -1.0, 0.0]]])  # a point before the person


def camera(azimuth: float = 0.0, elevation: float = 0.0) -> Cameras:
    values = (azimuth, elevation, 0.5, 0.25, 0.5, 0.4)
    return Cameras(*(torch.tensor([value]) for value in values))


def test_sides_by_hand() -> None:
    zero = torch.zeros(1)
    # Facing the camera, the front is nearer than the pelvis (negative depth); turned by 90, it is at the right.
    torch.testing.assert_close(view(FRONT, zero, zero)[0, 0], torch.tensor([0.0, 0.0, -1.0]))
    torch.testing.assert_close(view(FRONT, zero + 90, zero)[0, 0], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(view(FRONT, zero + 180, zero)[0, 0], torch.tensor([0.0, 0.0, 1.0]))


def test_a_high_camera_sees_what_is_nearer_lower() -> None:
    seen = view(FRONT, torch.zeros(1), torch.tensor([30.0]))[0, 0]
    torch.testing.assert_close(seen, torch.tensor([0.0, -0.5, -(3**0.5) / 2]))


def test_projection_by_hand() -> None:
    point = torch.tensor([[[1.0, 0.0, 2.0]]])
    # x: 0.5 + 0.5 * 1; y: 0.4 - 0.25 * 2, above the picture's upper edge.
    torch.testing.assert_close(project(point, camera())[0, 0], torch.tensor([1.0, -0.1, 0.0]))


def test_turns_keep_lengths_and_add_up() -> None:
    points = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    azimuth, elevation = torch.tensor([20.0, 200.0]), torch.tensor([10.0, -5.0])
    turned = view(points, azimuth, elevation)
    torch.testing.assert_close(turned.norm(dim=-1), points.norm(dim=-1))
    flat = torch.zeros(2)
    upright = view(points, azimuth, flat)  # right, up, away
    again = view(torch.stack([upright[..., 0], upright[..., 2], upright[..., 1]], dim=-1), flat + 30, flat)
    torch.testing.assert_close(again, view(points, azimuth + 30, flat))


def test_turned_lists_every_angle_of_a_body_in_a_row() -> None:
    cameras = Cameras(*(torch.tensor([10.0, 20.0]) for _ in Cameras._fields))
    turned = cameras.turned(torch.tensor([0, 90]))
    assert turned.azimuth_deg.tolist() == [10.0, 100.0, 20.0, 110.0]
    assert turned.scale_x.tolist() == [10.0, 10.0, 20.0, 20.0]
