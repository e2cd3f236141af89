import pytest
import torch

from reid_core.mesh.body import STATUSES, no_bodies


def test_rows_without_a_body_say_why() -> None:
    bodies = no_bodies(["no_person", "unreadable"])
    assert bodies.status == ("no_person", "unreadable")
    assert len(bodies) == 2
    assert bodies.found.tolist() == [False, False]
    assert bodies.angles_deg.shape == (2, 10, 3)
    assert not bodies.cameras.scale_x.any()
    assert bool(torch.isnan(bodies.mask_iou).all())


def test_only_ok_is_found() -> None:
    assert no_bodies(STATUSES).found.tolist() == [True, False, False, False, False, False]


def test_a_status_that_nobody_knows_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="lost"):
        no_bodies(["lost"])
