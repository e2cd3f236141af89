import torch

from reid_core.mesh.body import POSED_BONES, euler_matrices
from reid_core.mesh.fit import NUM_LIMBS, directions, euler_angles, smallest_turn, start_angles
from reid_core.mesh.skeleton import load_skeleton
from tests.reid_core.mesh.people import walking

SKELETON = load_skeleton(torch.device("cpu"))


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
    assert limbs.shape == (len(SKELETON.landmarks), NUM_LIMBS, 3)
    torch.testing.assert_close(limbs.norm(dim=-1), torch.ones(limbs.shape[:2]))
