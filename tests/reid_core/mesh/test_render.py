import pytest
import torch
from torch import Tensor

from benchmarks.rasteriser import bare, walking
from reid_core.mesh import render
from reid_core.mesh.body import load_body
from reid_core.mesh.render import interpolate, rasterise, vertex_normals


def slow_rasterise(points: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
    """Nearest face at the centre of every pixel, one at a time; (H, W)."""
    result = torch.full((height, width), -1)
    nearest = torch.full((height, width), float("inf"))
    for index, face in enumerate(faces):
        corners = points[face].double()
        (ax, ay), (bx, by), (cx, cy) = (corners * torch.tensor([width, height, 1.0]))[:, :2].tolist()
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0:  # looks away: y points down
            continue
        for row in range(height):
            for column in range(width):
                x, y = column + 0.5, row + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1 - u - v
                depth = float(torch.tensor([u, v, w], dtype=torch.float64) @ corners[:, 2])
                if min(u, v, w) > 0 and depth < nearest[row, column]:
                    nearest[row, column], result[row, column] = depth, index
    return result


def soup(views: int, count: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    points = torch.rand(views, 3 * count, 3, generator=random) * torch.tensor([1.4, 1.4, 2.0]) - 0.2
    return points, torch.arange(3 * count).reshape(-1, 3)


def test_one_triangle_by_hand() -> None:
    # Upper left half of a 4 x 4 picture, counter-clockwise as seen: along the left edge down, then to the right.
    points = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]])
    seen = rasterise(points, torch.tensor([[0, 1, 2]]), size=(4, 4)).mask[0]
    strictly = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(seen & ~torch.eye(4, dtype=torch.bool).flip(1), strictly)
    backwards = rasterise(points, torch.tensor([[0, 2, 1]]), size=(4, 4))
    assert not backwards.mask.any()


@pytest.mark.parametrize("tile", [8, 16, 64])
def test_tiles_against_a_slow_loop(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "TILE_PIXELS", tile)
    points, faces = soup(2, 12)
    fragments = rasterise(points, faces, size=(20, 28))  # no multiple of any tile
    expected = torch.stack([slow_rasterise(view, faces, 20, 28) for view in points])
    assert fragments.face.shape == (2, 20, 28)
    # Pixels whose centre lies on an edge may fall to either side.
    assert (fragments.face != expected).float().mean() < 0.005
    assert (expected >= 0).float().mean() > 0.2


def test_tiles_see_what_one_bare_call_of_the_library_sees() -> None:
    body = load_body("notoes_collapse3pc")
    points = walking(body, count=2)
    seen = rasterise(points, body.faces, size=(64, 32)).face
    wanted = bare(points, body.faces, (64, 32))
    assert (wanted >= 0).float().mean() > 0.1
    # A pixel whose centre lies on an edge, to the last bit, may fall to either side.
    assert int((seen != wanted).sum()) <= 1


def test_interpolation_returns_the_position_of_the_pixel() -> None:
    points, faces = soup(2, 12)
    fragments = rasterise(points, faces, size=(24, 32))
    _, row, column = fragments.mask.nonzero(as_tuple=True)
    seen = interpolate(fragments, faces, points)
    torch.testing.assert_close(seen[:, 0] * 32, column + 0.5, atol=2e-3, rtol=0)
    torch.testing.assert_close(seen[:, 1] * 24, row + 0.5, atol=2e-3, rtol=0)


def test_shared_attributes_are_those_of_every_view() -> None:
    points, faces = soup(2, 6)
    fragments = rasterise(points, faces, size=(16, 16))
    values = torch.rand(1, 18, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        interpolate(fragments, faces, values), interpolate(fragments, faces, values.expand(2, -1, -1))
    )


def test_nothing_to_see_is_an_empty_picture() -> None:
    points, faces = soup(1, 3)
    fragments = rasterise(points + 5.0, faces, size=(16, 16))
    assert not fragments.mask.any()
    assert interpolate(fragments, faces, points).shape == (0, 3)


def test_normals_of_a_tetrahedron_point_away_from_its_middle() -> None:
    vertices = torch.tensor([[[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]])
    faces = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    torch.testing.assert_close(vertex_normals(vertices, faces), vertices / 3**0.5)
