import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from reid_core.errors import UserError
from reid_core.mesh.body import POSED_BONES, STATUSES, build_once, default_folder, euler_matrices, load_body, no_bodies

TOPOLOGY = "notoes_collapse3pc"


def test_quarter_turns_by_hand() -> None:
    about_z = euler_matrices(torch.tensor([0.0, 0.0, 90.0]))
    torch.testing.assert_close(about_z @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    # z is applied first, x last: x -> y by the turn about z, then y -> z by the turn about x.
    both = euler_matrices(torch.tensor([90.0, 0.0, 90.0]))
    torch.testing.assert_close(both @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))


def test_euler_matrices_against_products_of_single_turns() -> None:
    angles = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)) * 360 - 180
    only = [euler_matrices(angles * torch.eye(3)[axis]) for axis in range(3)]
    torch.testing.assert_close(euler_matrices(angles), only[0] @ only[1] @ only[2])


def test_body_stands_upright_and_faces_minus_y() -> None:
    body = load_body(TOPOLOGY)
    low, high = body.canonical.amin(dim=0), body.canonical.amax(dim=0)
    assert 1.4 < float(high[2] - low[2]) < 1.9  # metres from soles to top
    feet = body.canonical[body.canonical[:, 2] < float(low[2]) + 0.05]
    assert float(feet[:, 1].amin()) < -0.15  # toes point to the front


def test_faces_look_outwards() -> None:
    body = load_body(TOPOLOGY)
    corners = body.canonical[body.faces].double()
    # Signed volume of a closed surface is positive when its faces are counter-clockwise from outside.
    volume = torch.linalg.cross(corners[:, 0], corners[:, 1]).mul(corners[:, 2]).sum() / 6
    assert 0.03 < float(volume) < 0.12  # cubic metres


def test_one_body_does_not_depend_on_the_others_of_its_batch() -> None:
    body = load_body(TOPOLOGY)
    random = torch.Generator().manual_seed(1)
    phenotypes = torch.rand(3, 6, generator=random)
    angles = torch.rand(3, len(POSED_BONES), 3, generator=random) * 20
    together = body.vertices(phenotypes, angles)
    torch.testing.assert_close(body.vertices(phenotypes[1:2], angles[1:2])[0], together[1], atol=1e-5, rtol=0)
    assert not together.requires_grad


def test_a_lifted_leg_moves_forward_and_nothing_else() -> None:
    body = load_body(TOPOLOGY)
    still, lifted = torch.zeros(1, 10, 3), torch.zeros(1, 10, 3)
    lifted[0, POSED_BONES.index("upperleg01.L"), 0] = -40.0
    before, after = (body.vertices(torch.full((1, 6), 0.5), pose)[0] for pose in (still, lifted))
    left_foot = (body.canonical[:, 2] < -0.7) & (body.canonical[:, 0] > 0)
    right_leg_and_head = ((body.canonical[:, 2] < -0.2) & (body.canonical[:, 0] < 0)) | (body.canonical[:, 2] > 0.6)
    assert float((after - before)[left_foot, 1].max()) < -0.2
    torch.testing.assert_close(after[right_leg_and_head], before[right_leg_and_head])


def test_unknown_topology_is_named() -> None:
    with pytest.raises(UserError, match="'smpl'"):
        load_body("smpl")


def test_reference_unposed_is_the_body_itself() -> None:
    body = load_body(TOPOLOGY)
    kinds = torch.full((2, 6), 0.5)
    kinds[1, 3] = 0.9
    reference = body.reference(kinds, ["head"])
    torch.testing.assert_close(reference.moments.sum(dim=2), body.vertices(kinds, torch.zeros(2, 10, 3)))
    torch.testing.assert_close(reference.weights.sum(dim=1), torch.ones(len(reference.weights)))
    assert reference.joints.shape == (2, len(POSED_BONES), 3)
    assert float(reference.marks[0, 0, 2]) > float(reference.joints[0, POSED_BONES.index("neck01"), 2])


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


def _slow_build(folder: Path) -> str:
    """Write in place, as Anny does, and fail when somebody else's half-written file is there."""
    path = folder / "data"
    if path.exists():
        text = path.read_text()
        assert text == "whole", text
        return text
    with path.open("w") as file:
        file.write("wh")
        file.flush()
        time.sleep(0.3)
        file.write("ole")
    with (folder / "count").open("a") as file:
        file.write("x")
    return "whole"


def _worker(folder: Path) -> str:
    return build_once(folder, "body", lambda: _slow_build(folder))


def test_workers_that_start_together_build_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(_worker, [folder] * 3, chunksize=1) == ["whole"] * 3
    assert (folder / "count").read_text() == "x"


def test_what_a_killed_build_left_is_thrown_away(tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    def killed() -> str:
        (folder / "data").write_text("wh")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(folder, "body", killed)
    assert build_once(folder, "body", lambda: _slow_build(folder)) == "whole"


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder("1.2") == tmp_path / "genvar" / "anny-1.2"


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        build_once(tmp_path / "file" / "cache", "body", str)
