from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import finish, plan_shards, render_shard
from reid_core.errors import UserError
from reid_core.mesh.body import Bodies, no_bodies
from reid_core.mesh.sources import (
    TRUTH_COLUMNS,
    EstimateSource,
    Extracted,
    NoSource,
    put_back,
    read_truth,
    render_bodies,
    without_bodies,
)
from tests.reid_core.mesh.some_bodies import some_bodies, some_maps

SIZE = (32, 16)


def test_no_source_knows_nobody() -> None:
    bodies, maps = NoSource()([Path("a.jpg"), Path("b.jpg")], size=SIZE, num_threads=1)
    assert bodies.status == ("no_mesh", "no_mesh")
    assert maps.shape == (2, 8, 32, 16)


def test_whatever_a_file_holds_it_gets_a_status(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    for name, mode in (("cmyk.jpg", "CMYK"), ("transparent.png", "RGBA"), ("gray.png", "L")):
        picture.convert(mode).save(tmp_path / name)
    picture.save(tmp_path / "whole.jpg")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    picture.save(tmp_path / "animated.gif", save_all=True, append_images=[picture.rotate(180)])
    Image.new("RGB", (100, 20_000)).save(tmp_path / "tall.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    (tmp_path / "empty.jpg").touch()
    images = [*sorted(tmp_path.iterdir()), tmp_path / "gone.jpg"]
    bodies, maps = EstimateSource("notoes_collapse3pc")(images, size=SIZE, num_threads=1)
    statuses = dict(zip((path.stem for path in images), bodies.status, strict=True))
    for name in ("truncated", "empty", "gone"):
        assert statuses.pop(name) == "unreadable"
    assert set(statuses.values()) <= {"no_person", "low_confidence"}, statuses
    assert not maps.any()


def test_files_that_are_all_broken(tmp_path: Path) -> None:
    bodies, maps = EstimateSource("notoes_collapse3pc")([tmp_path / "gone.jpg"], size=SIZE, num_threads=1)
    assert bodies.status == ("unreadable",)
    assert maps.shape == (1, 8, 32, 16)


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


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("people")
    settings = SyntheticSettings(1, 1, 4, 2, 32, 16, topology="notoes_collapse3pc")
    for shard in (shards := plan_shards(settings, out_dir)):
        render_shard(shard)
    finish(shards, out_dir)
    return out_dir


def test_rows_follow_the_images_asked_for(people: Path) -> None:
    table = pq.read_table(people / "truth.parquet")
    paths = [people / "images" / path for path in table["path"].to_pylist()]
    bodies = read_truth(people / "truth.parquet", [paths[3], people / "elsewhere.jpg", paths[0], Path("/far/away.jpg")])
    assert bodies.found.tolist() == [True, False, True, False]
    azimuths = table["azimuth_deg"].to_pylist()
    torch.testing.assert_close(bodies.cameras.azimuth_deg, torch.tensor([azimuths[3], 0.0, azimuths[0], 0.0]))
    poses = torch.tensor(table["pose_deg"].to_pylist()).reshape(-1, 10, 3)
    torch.testing.assert_close(bodies.angles_deg[[0, 2]], poses[[3, 0]])
    assert not bodies.phenotypes[1].any()


def test_identities_are_not_read() -> None:
    assert "person_id" not in TRUTH_COLUMNS
    assert not [field.name for field in fields(Bodies) if "person" in field.name]


def test_a_broken_truth_is_explained(tmp_path: Path) -> None:
    (tmp_path / "truth.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="run the data stage again"):
        read_truth(tmp_path / "truth.parquet", [])
