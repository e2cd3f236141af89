import numpy as np
import pytest
import torch

from reid_core.mesh.landmarks import NUM_LANDMARKS, POSE_PIXELS, Look, Square
from reid_core.mesh.outline import EDGE_POINTS, join, outline_of, sticking_out, uncovered


def block(*, side: float = 100.0) -> Look:
    """A look over a picture of 100 x 100 whose person is the middle half of the columns and rows."""
    mask = np.zeros((POSE_PIXELS, POSE_PIXELS), dtype=np.float32)
    quarter = POSE_PIXELS // 4
    mask[quarter:-quarter, quarter:-quarter] = 1.0
    points, world = np.zeros((NUM_LANDMARKS, 2)), np.zeros((NUM_LANDMARKS, 3))
    return Look(points, world, np.ones(NUM_LANDMARKS), 1.0, mask, Square(50.0, 50.0, side))


def test_distance_from_a_block_by_hand() -> None:
    outline = outline_of(block(), height=100, width=100)
    # The block spans 0.25 to 0.75 of the picture.
    points = torch.tensor([[[0.5, 0.5], [0.3, 0.7], [0.15, 0.5], [0.5, 0.95]]])
    torch.testing.assert_close(
        sticking_out(outline, points), torch.tensor([[0.0, 0.0, 0.10, 0.20]]), atol=0.012, rtol=0
    )


def test_edge_lies_on_the_block_and_is_covered_by_points_on_it() -> None:
    outline = outline_of(block(), height=100, width=100)
    edge = outline.edge[outline.known]
    assert len(edge) == EDGE_POINTS
    from_middle = (edge - 0.5).abs().amax(dim=1)  # a square around the middle
    assert float((from_middle - 0.25).abs().max()) < 0.012
    assert float(uncovered(outline, outline.edge).max()) < 1e-3
    # A single point in the middle is as far from the edge as the edge is from the middle.
    torch.testing.assert_close(
        uncovered(outline, torch.full((1, 1, 2), 0.5)), (outline.edge - 0.5).norm(dim=-1), atol=1e-3, rtol=0
    )


def test_uncovered_against_all_pairs(generator: torch.Generator) -> None:
    outline = outline_of(block(), height=100, width=100)
    points = torch.rand(1, 40, 2, generator=generator)
    slow = [min(float((edge - point).norm()) for point in points[0]) for edge in outline.edge[0]]
    torch.testing.assert_close(uncovered(outline, points)[0], torch.tensor(slow), atol=2e-4, rtol=0)


def test_what_is_outside_of_the_picture_says_nothing() -> None:
    # The look reaches beyond the picture: its person fills the picture and goes on below and above.
    outline = outline_of(block(side=300.0), height=100, width=100)
    assert not outline.known.any()  # no edge inside of the picture
    beyond = torch.tensor([[[0.5, 1.4], [-0.4, 0.5]]])
    torch.testing.assert_close(sticking_out(outline, beyond), torch.zeros(1, 2))


def test_an_empty_mask_pulls_nowhere() -> None:
    look = block()
    outline = outline_of(look._replace(mask=np.zeros_like(look.mask)), height=100, width=100)
    points = torch.tensor([[[0.2, 0.3]]])
    assert float(sticking_out(outline, points)) == 0.0
    assert float(uncovered(outline, points).sum()) == 0.0


def test_gradients_point_to_the_person() -> None:
    outline = outline_of(block(), height=100, width=100)
    points = torch.tensor([[[0.1, 0.5]]], requires_grad=True)
    torch.autograd.backward(sticking_out(outline, points).sum())
    assert points.grad is not None
    assert float(points.grad[0, 0, 0]) == pytest.approx(-1.0, abs=0.1)  # moving right by 1 comes nearer by 1


def test_joined_outlines_keep_their_order() -> None:
    first = outline_of(block(), height=100, width=100)
    second = outline_of(block(side=200.0), height=100, width=100)
    both = join([first, second])
    assert both.side.tolist() == [1.0, 2.0]
    torch.testing.assert_close(both.outside[1:], second.outside)
