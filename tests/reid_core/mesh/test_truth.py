from dataclasses import fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import finish, plan_shards, render_shard
from reid_core.errors import UserError
from reid_core.mesh.body import Bodies
from reid_core.mesh.sources import COLUMNS, read_truth


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
    assert "person_id" not in COLUMNS
    assert not [field.name for field in fields(Bodies) if "person" in field.name]


def test_a_broken_truth_is_explained(tmp_path: Path) -> None:
    (tmp_path / "truth.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="run the data stage again"):
        read_truth(tmp_path / "truth.parquet", [])
