import torch

from reid_core.mesh.body import load_body
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import ANGLES, BODY_MINIMUM, guidance_maps

BODY = load_body("notoes_collapse3pc")


def maps_of(
    azimuth: float, *, angles: tuple[int, ...] = ANGLES, size: tuple[int, int] = (64, 32), scale: float = 1.0
) -> torch.Tensor:
    pose = torch.zeros(1, 10, 3)
    pose[0, 0, 0] = -30.0  # one leg forward: no two sides look alike
    vertices = BODY.vertices(torch.full((1, 6), 0.5), pose)
    camera = Cameras(*(torch.tensor([value]) for value in (azimuth, 5.0, scale, 0.5, 0.5, 0.47)))
    return guidance_maps(vertices, BODY, camera, angles=angles, size=size)


def test_background_is_zero_and_the_body_never_is() -> None:
    maps = maps_of(0.0)
    assert maps.shape == (1, 8, 64, 32)
    assert maps.dtype == torch.uint8
    assert int(maps[maps > 0].min()) >= BODY_MINIMUM
    covered = (maps > 0).float().mean(dim=(2, 3))
    assert bool(((covered > 0.1) & (covered < 0.5)).all())


def test_a_turn_is_the_same_as_another_azimuth() -> None:
    assert torch.equal(maps_of(30.0, angles=(135,), scale=0.7), maps_of(165.0, angles=(0,), scale=0.7))


def test_every_side_looks_different() -> None:
    views = maps_of(0.0)[0].float()
    differences = (views[:, None] - views[None]).abs().mean(dim=(2, 3))
    assert float(differences[~torch.eye(8, dtype=torch.bool)].min()) > 3.0


def test_turns_keep_height_and_axis() -> None:
    rows = (maps_of(0.0)[0] > 0).any(dim=2)  # (8, H)
    tops = rows.float().argmax(dim=1)
    assert int(tops.max() - tops.min()) <= 1
    head = (maps_of(0.0)[0, :, int(tops.max()) + 2] > 0).float()
    middle = (head * torch.arange(32)).sum(dim=1) / head.sum(dim=1)
    assert bool((middle - 15.5).abs().lt(2.5).all())


def test_back_views_are_lit_too() -> None:
    maps = maps_of(0.0)
    back = maps[0, ANGLES.index(180)]
    assert float(back[back > 0].float().std()) > 20.0


def test_a_larger_map_is_the_same_picture() -> None:
    large = (maps_of(0.0, size=(128, 64)) > 0).float()
    small = (maps_of(0.0) > 0).float()
    shrunk = torch.nn.functional.avg_pool2d(large[0], 2)
    assert float(((shrunk > 0.5).float() - small[0]).abs().mean()) < 0.03


def test_turned_bodies_stay_in_the_picture() -> None:
    pose = torch.zeros(1, 10, 3)
    pose[0, 4, 1] = pose[0, 5, 1] = 20.0
    vertices = BODY.vertices(torch.full((1, 6), 0.5), pose)
    # A tight crop of a profile, its axis off the middle: seen from the front the arms would end outside.
    camera = Cameras(*(torch.tensor([value]) for value in (90.0, 5.0, 1.9, 0.5, 0.3, 0.47)))
    maps = guidance_maps(vertices, BODY, camera, size=(64, 32))
    inside = (maps[0, 1:] > 0).sum(dim=(1, 2))
    wider = Cameras(*(torch.tensor([value]) for value in (90.0, 5.0, 0.95, 0.5, 0.5, 0.47)))
    whole = (guidance_maps(vertices, BODY, wider, size=(64, 64))[0, 1:] > 0).sum(dim=(1, 2))
    # Squeezed, a front view covers less; a hand that is cut off would leave the edge column full of body.
    edges = (maps[0, 1:, :, [0, -1]] > 0).sum(dim=(1, 2))
    assert bool((edges <= 6).all()), edges
    assert bool((inside > 0.5 * whole).all())
    assert torch.equal(maps[:, :1], guidance_maps(vertices, BODY, camera, angles=(0,), size=(64, 32)))
