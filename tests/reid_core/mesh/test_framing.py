import torch

from reid_core.mesh.camera import Cameras, keep_inside


def camera(scale: float = 1.0, x: float = 0.5, y: float = 0.5) -> Cameras:
    return Cameras(*(torch.tensor([value]) for value in (30.0, 5.0, scale, scale, x, y)))


def kept(first: tuple[float, float, float, float], then: tuple[float, float, float, float], given: Cameras) -> Cameras:
    """Boxes as left, top, right, bottom of the photograph's body and of the turned one."""
    boxes = (torch.tensor([then[:2]]), torch.tensor([then[2:]]), torch.tensor([first[:2]]), torch.tensor([first[2:]]))
    return keep_inside(given, *boxes)


WHOLE = (0.1, 0.05, 0.9, 0.95)


def test_a_body_inside_stays_where_it_is() -> None:
    given = camera(x=0.4)
    assert kept(WHOLE, (0.0, 0.05, 0.6, 1.0), given) == given


def test_a_body_that_sticks_out_is_moved_by_as_much() -> None:
    moved = kept(WHOLE, (0.3, 0.1, 1.2, 0.9), camera(x=0.7))
    torch.testing.assert_close(moved.center_x, torch.tensor([0.5]))
    torch.testing.assert_close(kept(WHOLE, (-0.25, 0.1, 0.2, 0.9), camera(x=0.0)).center_x, torch.tensor([0.25]))
    assert moved.scale_x == 1
    assert moved.center_y == 0.5


def test_a_body_that_is_too_wide_is_squeezed_by_hand() -> None:
    # 1.6 wide from -0.2 to 1.4 about 0.6: by 0.625 it runs from 0.1 to 1.1, and then moves by 0.1.
    fitted = kept(WHOLE, (-0.2, 0.1, 1.4, 0.9), camera(x=0.6))
    torch.testing.assert_close(fitted.scale_x, torch.tensor([0.625]))
    torch.testing.assert_close(fitted.center_x, torch.tensor([0.5]))
    assert fitted.scale_y == 1


def test_feet_that_the_photograph_cuts_off_stay_cut_off() -> None:
    given = camera()
    assert kept((0.1, 0.05, 0.9, 1.3), (0.1, 0.05, 0.9, 1.25), given) == given
    lifted = kept(WHOLE, (0.1, 0.05, 0.9, 1.04), given)
    torch.testing.assert_close(lifted.center_y, torch.tensor([0.46]))


def test_gradients_pass() -> None:
    low = torch.tensor([[-0.2, 0.1]], requires_grad=True)
    moved = keep_inside(camera(), low, torch.tensor([[0.5, 0.9]]), torch.zeros(1, 2), torch.ones(1, 2))
    (slope,) = torch.autograd.grad(moved.center_x.sum(), low)
    torch.testing.assert_close(slope, torch.tensor([[-1.0, 0.0]]))
