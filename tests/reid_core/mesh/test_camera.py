import torch

from reid_core.mesh.camera import Cameras, keep_inside, project, view

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


def framed(scale: float = 1.0, x: float = 0.5, y: float = 0.5) -> Cameras:
    return Cameras(*(torch.tensor([value]) for value in (30.0, 5.0, scale, scale, x, y)))


def kept(first: tuple[float, float, float, float], then: tuple[float, float, float, float], given: Cameras) -> Cameras:
    """Boxes as left, top, right, bottom of the photograph's body and of the turned one."""
    boxes = (torch.tensor([then[:2]]), torch.tensor([then[2:]]), torch.tensor([first[:2]]), torch.tensor([first[2:]]))
    return keep_inside(given, *boxes)


WHOLE = (0.1, 0.05, 0.9, 0.95)


def test_a_body_inside_stays_where_it_is() -> None:
    given = framed(x=0.4)
    assert kept(WHOLE, (0.0, 0.05, 0.6, 1.0), given) == given


def test_a_body_that_sticks_out_is_moved_by_as_much() -> None:
    moved = kept(WHOLE, (0.3, 0.1, 1.2, 0.9), framed(x=0.7))
    torch.testing.assert_close(moved.center_x, torch.tensor([0.5]))
    torch.testing.assert_close(kept(WHOLE, (-0.25, 0.1, 0.2, 0.9), framed(x=0.0)).center_x, torch.tensor([0.25]))
    assert moved.scale_x == 1
    assert moved.center_y == 0.5


def test_a_body_that_is_too_wide_is_squeezed_by_hand() -> None:
    # 1.6 wide from -0.2 to 1.4 about 0.6: by 0.625 it runs from 0.1 to 1.1, and then moves by 0.1.
    fitted = kept(WHOLE, (-0.2, 0.1, 1.4, 0.9), framed(x=0.6))
    torch.testing.assert_close(fitted.scale_x, torch.tensor([0.625]))
    torch.testing.assert_close(fitted.center_x, torch.tensor([0.5]))
    assert fitted.scale_y == 1


def test_feet_that_the_photograph_cuts_off_stay_cut_off() -> None:
    given = framed()
    assert kept((0.1, 0.05, 0.9, 1.3), (0.1, 0.05, 0.9, 1.25), given) == given
    lifted = kept(WHOLE, (0.1, 0.05, 0.9, 1.04), given)
    torch.testing.assert_close(lifted.center_y, torch.tensor([0.46]))


def test_gradients_pass() -> None:
    low = torch.tensor([[-0.2, 0.1]], requires_grad=True)
    moved = keep_inside(framed(), low, torch.tensor([[0.5, 0.9]]), torch.zeros(1, 2), torch.ones(1, 2))
    (slope,) = torch.autograd.grad(moved.center_x.sum(), low)
    torch.testing.assert_close(slope, torch.tensor([[-1.0, 0.0]]))
