import pytest
import torch

from reid_core.mesh.body import POSED_BONES, euler_matrices
from reid_core.mesh.camera import Cameras
from reid_core.mesh.fit import Fit, directions, euler_angles, fit_bodies, in_picture, smallest_turn, start_angles
from reid_core.mesh.landmarks import MIRRORED
from reid_core.mesh.outline import CELLS, EDGE_POINTS, Outline
from reid_core.mesh.skeleton import LANDMARK_NUMBERS, load_skeleton
from tests.reid_core.mesh.people import cameras_equal, rows, seen_exactly, walking

SKELETON = load_skeleton(torch.device("cpu"))


def joint_error(fit: Fit, angles: torch.Tensor) -> torch.Tensor:
    """Mean distance of landmarks in body axes, metres, shape (B,)."""
    found = SKELETON.pose(euler_matrices(fit.angles_deg), fit.build).landmarks
    true = SKELETON.pose(euler_matrices(angles), torch.full((len(angles),), 0.5)).landmarks
    error: torch.Tensor = (found - true).norm(dim=-1).mean(dim=1)
    return error


@pytest.fixture(scope="module")
def walkers() -> tuple[torch.Tensor, torch.Tensor]:
    return walking(8, seed=1), torch.arange(8) * 45.0 - 180.0


def test_a_known_body_is_recovered_from_every_side(walkers: tuple[torch.Tensor, torch.Tensor]) -> None:
    angles, azimuth = walkers
    fit = fit_bodies(SKELETON, seen_exactly(angles, azimuth))
    turned = (fit.cameras.azimuth_deg - azimuth + 180) % 360 - 180
    assert float(turned.abs().max()) < 5.0  # degrees
    assert float(joint_error(fit, angles).max()) < 0.05  # metres
    assert float(fit.reprojection.max()) < 0.015
    # Body scale and place in the picture, from people.seen_exactly.
    torch.testing.assert_close(fit.cameras.scale_y, torch.full((8,), 0.5), atol=0.03, rtol=0)
    torch.testing.assert_close(fit.cameras.center_x, torch.full((8,), 0.25), atol=0.02, rtol=0)


def test_a_wrong_azimuth_is_mended_by_the_picture(walkers: tuple[torch.Tensor, torch.Tensor]) -> None:
    angles, azimuth = walkers
    exact = seen_exactly(angles, azimuth)
    wrong = exact._replace(azimuth_deg=azimuth + 12.0)
    fit = fit_bodies(SKELETON, wrong)
    before, after = 12.0, ((fit.cameras.azimuth_deg - azimuth + 180) % 360 - 180).abs().mean()
    assert float(after) < before * 0.7


def test_a_body_does_not_depend_on_its_neighbours(walkers: tuple[torch.Tensor, torch.Tensor]) -> None:
    seen = seen_exactly(*walkers)
    together, alone = fit_bodies(SKELETON, seen), fit_bodies(SKELETON, rows(seen, slice(2, 3)))
    torch.testing.assert_close(alone.angles_deg[0], together.angles_deg[2], atol=0.05, rtol=0)
    cameras_equal(alone.cameras, Cameras(*(field[2:3] for field in together.cameras)), atol=0.02)


def test_the_same_input_gives_the_same_bytes(walkers: tuple[torch.Tensor, torch.Tensor]) -> None:
    seen = seen_exactly(*walkers)
    first, second = fit_bodies(SKELETON, seen), fit_bodies(SKELETON, seen)
    assert torch.equal(first.angles_deg, second.angles_deg)
    assert all(torch.equal(one, other) for one, other in zip(first.cameras, second.cameras, strict=True))


def test_a_mirrored_person_gets_the_mirrored_body(walkers: tuple[torch.Tensor, torch.Tensor]) -> None:
    angles, azimuth = walkers
    seen = seen_exactly(angles, azimuth)
    partner = [LANDMARK_NUMBERS.index(int(MIRRORED[number])) for number in LANDMARK_NUMBERS]
    flip = torch.tensor([-1.0, 1.0, 1.0])
    mirrored = seen._replace(
        points=seen.points[:, partner] * flip[:2] + torch.tensor([0.5, 0.0]),
        world=seen.world[:, partner] * flip,
        azimuth_deg=-azimuth,
    )
    one, other = fit_bodies(SKELETON, seen), fit_bodies(SKELETON, mirrored)
    torch.testing.assert_close(other.cameras.azimuth_deg, -one.cameras.azimuth_deg, atol=0.5, rtol=0)
    swapped = one.angles_deg[:, [1, 0, 3, 2, 5, 4, 7, 6, 8, 9]] * torch.tensor([1.0, -1.0, -1.0])
    torch.testing.assert_close(other.angles_deg, swapped, atol=3.0, rtol=0)


def test_feet_that_were_not_seen_do_not_pull() -> None:
    angles, azimuth = walking(2, seed=5), torch.tensor([20.0, 200.0])
    seen = seen_exactly(angles, azimuth)
    below = [LANDMARK_NUMBERS.index(number) for number in (25, 26, 27, 28, 29, 30, 31, 32)]
    trust, points = seen.trust.clone(), seen.points.clone()
    trust[:, below] = 0.0
    nonsense = points.clone()
    nonsense[:, below] += 3.0
    fit = fit_bodies(SKELETON, seen._replace(trust=trust))
    pulled = fit_bodies(SKELETON, seen._replace(trust=trust, points=nonsense))
    assert torch.equal(fit.angles_deg, pulled.angles_deg)
    assert float(fit.reprojection.max()) < 0.02


def test_knees_bend_backwards_only() -> None:
    angles = walking(4, seed=2)
    angles[:, 2:4, 0] = -25.0  # nobody's knees
    fit = fit_bodies(SKELETON, seen_exactly(angles, torch.tensor([0.0, 90.0, 180.0, 270.0])))
    assert float(fit.angles_deg[:, 2:4, 0].min()) > -12.0


def test_a_wide_outline_makes_a_heavy_body() -> None:
    angles, azimuth = walking(1, seed=4), torch.tensor([0.0])
    seen = seen_exactly(angles, azimuth)
    builds = []
    columns = (torch.arange(CELLS) + 0.5) / CELLS
    heights = torch.linspace(0.35, 0.6, EDGE_POINTS // 2).repeat(2)
    for half_width in (0.07, 0.16):
        outside = ((columns - 0.25).abs() - half_width).clamp(min=0.0).expand(1, CELLS, CELLS)
        sides = 0.25 + torch.tensor([-half_width, half_width]).repeat_interleave(EDGE_POINTS // 2)
        edge = torch.stack([sides, heights], dim=-1)[None]
        outline = Outline(outside, torch.zeros(1, 2), torch.ones(1), edge, torch.ones(1, EDGE_POINTS).bool())
        builds.append(float(fit_bodies(SKELETON, seen._replace(outline=outline)).build))
    assert builds[1] > builds[0] + 0.1


def test_cameras_in_a_picture_of_another_shape_by_hand() -> None:
    # A picture twice as high as wide: half a height is a whole width.
    square = Cameras(*(torch.tensor([value]) for value in (10.0, 5.0, 0.4, 0.5, 0.25, 0.5)))
    portrait = in_picture(square, torch.tensor([2.0]))
    assert float(portrait.scale_x) == pytest.approx(0.8)
    assert float(portrait.center_x) == pytest.approx(0.5)
    assert float(portrait.scale_y) == pytest.approx(0.5)


def test_smallest_turn_by_hand() -> None:
    x, y = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(smallest_turn(x, y), quarter)


def test_smallest_turn_takes_the_start_to_the_end(generator: torch.Generator) -> None:
    start, end = (torch.nn.functional.normalize(torch.randn(20, 3, generator=generator), dim=-1) for _ in range(2))
    turn = smallest_turn(start, end)
    torch.testing.assert_close((turn @ start[..., None]).squeeze(-1), end, atol=1e-5, rtol=0)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).expand(20, 3, 3), atol=1e-5, rtol=0)


def test_opposite_directions_stay_finite() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0]])
    assert torch.isfinite(smallest_turn(x, -x)).all()


def test_euler_angles_invert_euler_matrices(generator: torch.Generator) -> None:
    angles = (torch.rand(30, 3, generator=generator) - 0.5) * 160
    torch.testing.assert_close(euler_angles(euler_matrices(angles)), angles, atol=1e-2, rtol=0)


def test_start_reaches_the_directions_of_a_walk() -> None:
    angles = walking(8, seed=3)
    wanted = directions(SKELETON.pose(euler_matrices(angles), torch.full((8,), 0.5)).landmarks)
    start = start_angles(SKELETON, wanted)
    reached = directions(SKELETON.pose(euler_matrices(start), torch.full((8,), 0.5)).landmarks)
    posed = range(len(POSED_BONES))
    apart = torch.rad2deg(torch.arccos((reached * wanted).sum(dim=-1).clamp(-1, 1)))[:, posed]
    assert float(apart.max()) < 5.0  # the shoulder is not quite the joint the arm turns about


def test_directions_have_unit_length() -> None:
    limbs = directions(SKELETON.landmarks)
    assert limbs.shape == (len(SKELETON.landmarks), 14, 3)
    torch.testing.assert_close(limbs.norm(dim=-1), torch.ones(limbs.shape[:2]))
