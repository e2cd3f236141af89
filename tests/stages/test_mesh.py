import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from infra.compute.local import LocalCompute
from infra.tracking.silent import SilentTracker
from reid_core.errors import UserError
from reid_core.mesh.cache import open_mesh_cache
from stages.data import DataConfig, SyntheticConfig
from stages.data import run as run_data
from stages.mesh import STAGE, MeshConfig, run
from tests.stages.pictures import write_crops
from tests.stages.trackers import RecordingTracker

CONFIG = MeshConfig(topology="notoes_collapse3pc", images_per_shard=3)


@pytest.fixture(scope="module")
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1)
    yield local
    local.close()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, compute: LocalCompute) -> Path:
    """Two rendered training people, eight images."""
    out_dir = tmp_path_factory.mktemp("rendered")
    people = SyntheticConfig(num_train_people=2, num_test_people=1, images_per_person=4, num_cameras=2)
    config = DataConfig(image_height=64, image_width=32, synthetic=people)
    run_data(config, {}, out_dir, compute, SilentTracker())
    return out_dir


def test_rendered_people_get_meshes(rendered: Path, tmp_path: Path, compute: LocalCompute) -> None:
    out_dir, tracker = tmp_path / "mesh", RecordingTracker()
    out_dir.mkdir()
    run(CONFIG, {"data": rendered}, out_dir, compute, tracker)
    cache = open_mesh_cache(out_dir / "mesh_cache")
    assert cache.size == (64, 32)
    assert cache.statuses() == {"ok": 8}
    assert bool(cache.available([f"train-{index:06d}" for index in range(8)]).all())
    summary = json.loads((out_dir / "summary.json").read_text())
    assert (summary["source"], summary["with a mesh"], summary["notes"]) == ("truth", 8, "")
    with Image.open(out_dir / "pictures" / "guidance.png") as sheet:
        assert sheet.width > sheet.height / 2
    assert tracker.metrics == [(None, {"images/with_mesh": 8, "images/without_mesh": 0})]

    # A second attempt on the same folder finds its shards and ends with the same files.
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scratch" / "mesh_cache").iterdir()}
    before = {path.name: path.read_bytes() for path in (out_dir / "mesh_cache").iterdir()}
    run(CONFIG, {"data": rendered}, out_dir, compute, SilentTracker())
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scratch" / "mesh_cache").iterdir()} == made
    assert {path.name: path.read_bytes() for path in (out_dir / "mesh_cache").iterdir()} == before


def test_fewer_shards_leave_none_of_the_old_ones(rendered: Path, tmp_path: Path, compute: LocalCompute) -> None:
    out_dir = tmp_path / "mesh"
    out_dir.mkdir()
    run(CONFIG.model_copy(update={"source": "none"}), {"data": rendered}, out_dir, compute, SilentTracker())
    run(CONFIG.model_copy(update={"images_per_shard": 8}), {"data": rendered}, out_dir, compute, SilentTracker())
    assert [path.name for path in (out_dir / "mesh_cache").iterdir()] == ["part-00000.parquet"]
    assert open_mesh_cache(out_dir / "mesh_cache").statuses() == {"ok": 8}


def test_photographs_have_no_mesh_and_the_stage_says_so(
    tmp_path: Path, compute: LocalCompute, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = {"data": tmp_path / "data"}
    inputs["data"].mkdir()
    (tmp_path / "mesh").mkdir()
    photographs = DataConfig(
        dataset="folder", data_root=write_crops(tmp_path / "crops"), image_height=64, image_width=32
    )
    run_data(photographs, {}, inputs["data"], compute, SilentTracker())
    run(CONFIG, inputs, tmp_path / "mesh", compute, SilentTracker())
    statuses = open_mesh_cache(tmp_path / "mesh" / "mesh_cache").statuses()
    assert set(statuses) == {"no_mesh"}
    summary = json.loads((tmp_path / "mesh" / "summary.json").read_text())
    assert summary["with a mesh"] == 0
    assert "no image has a mesh" in summary["notes"]
    assert "no image has a mesh" in caplog.text

    with pytest.raises(UserError, match=r"mesh\.source=auto"):
        run(CONFIG.model_copy(update={"source": "truth"}), inputs, tmp_path / "mesh", compute, SilentTracker())


def test_the_stage_reads_data_alone() -> None:
    assert (STAGE.name, STAGE.needs, STAGE.config) == ("mesh", ("data",), MeshConfig)
