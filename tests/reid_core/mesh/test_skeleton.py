import pytest
import torch

from reid_core.mesh.body import PHENOTYPES, POSED_BONES, euler_matrices, load_body
from reid_core.mesh.skeleton import (
    BUILDS,
    LANDMARK_NUMBERS,
    ORDER,
    PARENTS,
    SURFACE_TOPOLOGY,
    load_skeleton,
    phenotypes,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("build", BUILDS)
def test_posed_surface_equals_that_of_the_body_model(build: float, generator: torch.Generator) -> None:
    angles = (torch.rand(4, len(POSED_BONES), 3, generator=generator) - 0.5) * 120
    builds = torch.full((4,), build)
    posed = load_skeleton(CPU).pose(euler_matrices(angles), builds)
    oracle = load_body(SURFACE_TOPOLOGY).vertices(phenotypes(builds), angles)
    torch.testing.assert_close(posed.surface, oracle, atol=2e-6, rtol=0)


def test_builds_between_the_known_ones_are_interpolated_closely(generator: torch.Generator) -> None:
    angles = (torch.rand(3, len(POSED_BONES), 3, generator=generator) - 0.5) * 60
    builds = torch.tensor([0.2, 0.6, 0.85])
    posed = load_skeleton(CPU).pose(euler_matrices(angles), builds)
    oracle = load_body(SURFACE_TOPOLOGY).vertices(phenotypes(builds), angles)
    torch.testing.assert_close(posed.surface, oracle, atol=5e-4, rtol=0)  # half a millimetre


def test_a_bent_knee_by_hand() -> None:
    # A quarter turn about x brings what hangs below the left knee level with it, to the back (+y).
    angles = torch.zeros(1, len(POSED_BONES), 3)
    angles[0, POSED_BONES.index("lowerleg01.L"), 0] = 90.0
    skeleton = load_skeleton(CPU)
    straight = skeleton.pose(euler_matrices(torch.zeros_like(angles)), torch.tensor([0.5])).landmarks[0]
    bent = skeleton.pose(euler_matrices(angles), torch.tensor([0.5])).landmarks[0]
    knee, ankle = LANDMARK_NUMBERS.index(25), LANDMARK_NUMBERS.index(27)
    length = float((straight[ankle] - straight[knee]).norm())
    torch.testing.assert_close(bent[knee], straight[knee], atol=0.02, rtol=0)
    assert float((bent[ankle] - bent[knee])[1]) == pytest.approx(length, rel=0.03)
    others = [row for row in range(len(LANDMARK_NUMBERS)) if LANDMARK_NUMBERS[row] not in (25, 27, 29, 31)]
    torch.testing.assert_close(bent[others], straight[others])


def test_chain_against_a_slow_walk_up_the_parents(generator: torch.Generator) -> None:
    skeleton = load_skeleton(CPU)
    turns = euler_matrices((torch.rand(1, len(POSED_BONES), 3, generator=generator) - 0.5) * 120)
    posed = skeleton.pose(turns, torch.tensor([0.5]))
    left_ankle = LANDMARK_NUMBERS.index(27)
    point = skeleton.landmarks[1, left_ankle]
    bone = POSED_BONES.index("lowerleg01.L")
    while bone >= 0:
        joint = skeleton.joints[1, bone]
        point = turns[0, bone] @ (point - joint) + joint
        bone = PARENTS[bone]
    torch.testing.assert_close(posed.landmarks[0, left_ankle], point)


def test_parents_come_before_their_children() -> None:
    assert sorted(ORDER) == list(range(len(POSED_BONES)))
    for place, bone in enumerate(ORDER):
        assert PARENTS[bone] in (-1, *ORDER[:place])


def test_gradients_reach_angles_and_build() -> None:
    angles = torch.zeros(2, len(POSED_BONES), 3, requires_grad=True)
    build = torch.full((2,), 0.4, requires_grad=True)
    posed = load_skeleton(CPU).pose(euler_matrices(angles), build)
    torch.autograd.backward(posed.landmarks.square().sum() + posed.surface.square().sum())
    assert angles.grad is not None
    assert build.grad is not None
    assert (angles.grad.abs().amax(dim=(0, 2)) > 0).all()
    assert (build.grad.abs() > 0).all()


def test_left_and_right_landmarks_mirror_each_other() -> None:
    still = load_skeleton(CPU).pose(euler_matrices(torch.zeros(1, 10, 3)), torch.tensor([0.5])).landmarks[0]
    for left, right in ((2, 5), (7, 8), (11, 12), (13, 14), (15, 16), (23, 24), (25, 26), (27, 28), (29, 30), (31, 32)):
        one, other = still[LANDMARK_NUMBERS.index(left)], still[LANDMARK_NUMBERS.index(right)]
        assert float(one[0]) > 0.01, left  # the person's left side is at +x
        torch.testing.assert_close(one * torch.tensor([-1.0, 1.0, 1.0]), other, atol=2e-3, rtol=0)


def test_phenotypes_differ_in_weight_only() -> None:
    kinds = phenotypes(torch.tensor([0.1, 0.9]))
    differing = (kinds[0] != kinds[1]).nonzero().flatten().tolist()
    assert [PHENOTYPES[index] for index in differing] == ["weight"]
