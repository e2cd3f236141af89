import torch

from reid_core.mesh.body import no_bodies
from reid_core.mesh.sources import Extracted, put_back, render_bodies, without_bodies
from tests.reid_core.mesh.some_bodies import some_bodies, some_maps


def test_rows_are_put_back_where_they_came_from() -> None:
    bodies, maps = some_bodies("ok", "low_confidence"), some_maps(2)
    known = torch.tensor([False, True, False, True])
    spread = put_back(Extracted(bodies, maps), known, "unreadable")
    assert spread.bodies.status == ("unreadable", "ok", "unreadable", "low_confidence")
    assert torch.equal(spread.maps[known], maps)
    assert not spread.maps[~known].any()
    assert torch.equal(spread.bodies.angles_deg[known], bodies.angles_deg)
    assert torch.equal(spread.bodies.cameras.center_y[known], bodies.cameras.center_y)
    assert spread.bodies.masks is not None
    assert bodies.masks is not None
    assert torch.equal(spread.bodies.masks[known], bodies.masks)
    assert torch.equal(spread.bodies.mask_iou[known], bodies.mask_iou)
    assert bool(spread.bodies.mask_iou[~known].isnan().all())


def test_all_known_is_left_alone() -> None:
    extracted = Extracted(some_bodies("ok"), some_maps(1))
    assert put_back(extracted, torch.tensor([True]), "failed") is extracted


def test_nobody_known_at_all() -> None:
    spread = put_back(without_bodies([], (6, 4)), torch.tensor([False, False]), "failed")
    assert spread.bodies.status == ("failed", "failed")
    assert spread.maps.shape == (2, 8, 6, 4)


def test_only_found_bodies_are_drawn() -> None:
    bodies = some_bodies("low_confidence", "ok")
    maps = render_bodies(bodies, "notoes_collapse3pc", torch.device("cpu"), (32, 16)).maps
    assert maps.shape == (2, 8, 32, 16)
    assert maps[1].any()
    assert not maps[0].any()
    nobody = render_bodies(no_bodies(["no_person"]), "no such mesh", torch.device("cpu"), (32, 16))
    assert not nobody.maps.any()
