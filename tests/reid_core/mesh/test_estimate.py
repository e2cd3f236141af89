import numpy as np
import pytest
import torch

from reid_core.mesh.body import Bodies
from reid_core.mesh.camera import Cameras
from reid_core.mesh.estimate import LEAST_CONFIDENCE, estimate_bodies
from reid_core.mesh.landmarks import Picture
from tests.reid_core.mesh.people import cameras_equal, person

SIZE = (64, 32)
BLANK: Picture = np.full((90, 40, 3), 100, dtype=np.uint8)


def estimate(pictures: list[Picture]) -> Bodies:
    return estimate_bodies(
        pictures, size=SIZE, topology="notoes_collapse3pc", device=torch.device("cpu"), num_threads=1
    )


@pytest.fixture(scope="module")
def known() -> tuple[Bodies, torch.Tensor]:
    """Bodies of eight rendered pictures of two people, and their true azimuths."""
    people = [person(1), person(8)]
    bodies = estimate([picture for one in people for picture in one.pictures])
    return bodies, torch.tensor([azimuth for one in people for azimuth in one.azimuths_deg])


def test_rendered_people_are_found_and_face_the_right_way(known: tuple[Bodies, torch.Tensor]) -> None:
    bodies, azimuths = known
    assert bodies.status == ("ok",) * 8
    apart = ((bodies.cameras.azimuth_deg - azimuths + 180) % 360 - 180).abs()
    assert float(apart.median()) < 15.0
    assert float(apart.max()) < 45.0


def test_bodies_cover_the_people(known: tuple[Bodies, torch.Tensor]) -> None:
    bodies, _ = known
    assert float(bodies.mask_iou.median()) > 0.6
    assert float(bodies.reprojection.mean()) < 0.04
    assert bodies.masks is not None
    assert bodies.masks.shape == (8, *SIZE)
    assert bodies.masks.dtype == torch.uint8
    covered = (bodies.masks > 127).float().mean(dim=(1, 2))
    assert float(covered.min()) > 0.1
    assert float(covered.max()) < 0.7


def test_a_result_does_not_depend_on_the_other_pictures(known: tuple[Bodies, torch.Tensor]) -> None:
    together = known[0]
    alone = estimate([BLANK, person(8).pictures[1]])
    assert alone.status == ("no_person", "ok")
    torch.testing.assert_close(alone.angles_deg[1], together.angles_deg[5], atol=0.5, rtol=0)
    cameras_equal(
        Cameras(*(field[1:2] for field in alone.cameras)),
        Cameras(*(field[5:6] for field in together.cameras)),
        atol=0.2,
    )
    assert alone.masks is not None
    assert together.masks is not None
    assert torch.equal(alone.masks[1], together.masks[5])


def test_a_rerun_gives_the_same_bytes(known: tuple[Bodies, torch.Tensor]) -> None:
    first = known[0]
    second = estimate([picture for number in (1, 8) for picture in person(number).pictures])
    assert first.status == second.status
    for name in ("confidence", "phenotypes", "angles_deg", "masks", "mask_iou", "reprojection"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert all(torch.equal(one, other) for one, other in zip(first.cameras, second.cameras, strict=True))


def test_pictures_without_people_have_a_status_and_no_body() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 40, 3)).astype(np.uint8)
    odd: list[Picture] = [BLANK, noise, np.zeros((1, 1, 3), np.uint8), np.zeros((2000, 3, 3), np.uint8)]
    bodies = estimate(odd)
    assert bodies.status == ("no_person",) * 4
    assert not bodies.found.any()
    assert float(bodies.angles_deg.abs().sum()) == 0.0
    assert torch.isnan(bodies.mask_iou).all()


def test_no_pictures_give_no_bodies() -> None:
    assert len(estimate([])) == 0


def test_truncated_feet_keep_the_body_and_truncated_legs_lower_the_confidence(
    known: tuple[Bodies, torch.Tensor],
) -> None:
    whole, picture = known[0], person(8).pictures[2]
    no_feet, no_legs = picture[: int(0.9 * len(picture))], picture[: int(0.55 * len(picture))]
    bodies = estimate([no_feet, no_legs])
    assert bodies.status[0] == "ok"
    turned = float((bodies.cameras.azimuth_deg[0] - whole.cameras.azimuth_deg[6] + 180) % 360 - 180)
    assert abs(turned) < 30.0
    # As many pixels a metre as in the whole picture: the body is not squeezed into what is left.
    pixels, before = float(bodies.cameras.scale_y[0]) * len(no_feet), float(whole.cameras.scale_y[6]) * len(picture)
    assert pixels == pytest.approx(before, rel=0.1)
    assert float(bodies.confidence[1]) < 0.8 * float(whole.confidence[6])


def test_unsure_people_lose_their_body_and_keep_their_mask(known: tuple[Bodies, torch.Tensor]) -> None:
    bodies = estimate(person(4).pictures)
    unsure = bodies.confidence < LEAST_CONFIDENCE
    assert unsure.any()
    assert [status == "low_confidence" for status in bodies.status] == unsure.tolist()
    assert float(bodies.angles_deg[unsure].abs().sum()) == 0.0
    assert bodies.masks is not None
    assert float(bodies.masks[unsure].float().mean()) > 10.0
