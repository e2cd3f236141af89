import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.data.manifest import manifest_digest, read_manifest
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.errors import UserError
from reid_core.mesh.cache import open_mesh_cache
from stages.data import DataConfig
from stages.data import run as run_data
from stages.mesh import STAGE, MeshConfig, choose_topology, run
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
    people = SyntheticSettings(num_train_people=2, num_test_people=1, images_per_person=4, num_cameras=2)
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
    assert summary["status"] == {"ok": 8}
    assert (summary["images extracted"], summary["images reused from an interrupted run"]) == (8, 0)
    with Image.open(out_dir / "pictures" / "guidance.png") as sheet:
        assert sheet.width > sheet.height / 2
    assert tracker.metrics == [(None, {"images/with_mesh": 8, "images/without_mesh": 0, "mesh/median_confidence": 1})]

    # A second attempt on the same folder finds its shards and ends with the same files.
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scratch" / "mesh_cache").iterdir()}
    before = {path.name: path.read_bytes() for path in (out_dir / "mesh_cache").iterdir()}
    run(CONFIG, {"data": rendered}, out_dir, compute, SilentTracker())
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scratch" / "mesh_cache").iterdir()} == made
    assert {path.name: path.read_bytes() for path in (out_dir / "mesh_cache").iterdir()} == before
    summary = json.loads((out_dir / "summary.json").read_text())
    assert (summary["images extracted"], summary["images reused from an interrupted run"]) == (0, 8)


def test_fewer_shards_leave_none_of_the_old_ones(rendered: Path, tmp_path: Path, compute: LocalCompute) -> None:
    out_dir = tmp_path / "mesh"
    out_dir.mkdir()
    run(CONFIG.model_copy(update={"source": "none"}), {"data": rendered}, out_dir, compute, SilentTracker())
    run(CONFIG.model_copy(update={"images_per_shard": 8}), {"data": rendered}, out_dir, compute, SilentTracker())
    assert [path.name for path in (out_dir / "mesh_cache").iterdir()] == ["part-00000.parquet"]
    assert open_mesh_cache(out_dir / "mesh_cache").statuses() == {"ok": 8}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, compute: LocalCompute) -> Path:
    """Twelve pictures of noise, with nobody in them."""
    folder = tmp_path_factory.mktemp("photographs")
    config = DataConfig(dataset="folder", data_root=write_crops(folder / "crops"), image_height=64, image_width=32)
    (folder / "data").mkdir()
    run_data(config, {}, folder / "data", compute, SilentTracker())
    return folder / "data"


def test_without_a_source_nothing_is_rotated_and_the_stage_says_so(
    photographs: Path, tmp_path: Path, compute: LocalCompute, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mesh").mkdir()
    config = CONFIG.model_copy(update={"source": "none"})
    run(config, {"data": photographs}, tmp_path / "mesh", compute, SilentTracker())
    assert open_mesh_cache(tmp_path / "mesh" / "mesh_cache").statuses() == {"no_mesh": 12}
    summary = json.loads((tmp_path / "mesh" / "summary.json").read_text())
    assert summary["with a mesh"] == 0
    assert "No image has a mesh" in summary["notes"]
    assert "No image has a mesh" in caplog.text
    assert not (tmp_path / "mesh" / "pictures").exists()


def test_photographs_are_looked_at(photographs: Path, tmp_path: Path, compute: LocalCompute) -> None:
    (tmp_path / "mesh").mkdir()
    run(CONFIG, {"data": photographs}, tmp_path / "mesh", compute, SilentTracker())
    summary = json.loads((tmp_path / "mesh" / "summary.json").read_text())
    assert summary["source"] == "estimate"
    assert set(summary["status"]) <= {"no_person", "low_confidence"}  # it is noise


def test_the_source_that_is_asked_for_must_be_there(photographs: Path, tmp_path: Path, compute: LocalCompute) -> None:
    def refused(sentence: str, **settings: object) -> None:
        with pytest.raises(UserError, match=sentence):
            run(CONFIG.model_copy(update=settings), {"data": photographs}, tmp_path / "mesh", compute, SilentTracker())

    refused(r"mesh\.source=auto", source="truth")
    refused(r"mesh\.source=smpl wants mesh\.smpl_table, but it is not set", source="smpl")
    refused(
        r"smpl_model names .*none.pkl, which does not exist",
        source="smpl",
        smpl_table=photographs,
        smpl_model=Path("none.pkl"),
    )
    refused(r"render, render_45, .* are missing", source="images", maps_dir=tmp_path)
    assert not (tmp_path / "mesh").exists()


def test_a_cache_of_other_images_is_noticed(rendered: Path, photographs: Path) -> None:
    digests = {manifest_digest(read_manifest(folder / "manifest.parquet")) for folder in (rendered, photographs)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("height", "gpus", "wanted"),
    [(64, 0, "notoes_collapse3pc"), (128, 0, "notoes_collapse5pc"), (256, 0, "notoes_collapse10pc"), (64, 1, "anny")],
)
def test_the_body_mesh_follows_the_machine(height: int, gpus: int, wanted: str) -> None:
    assert choose_topology(height, "cuda" if gpus else "cpu") == wanted


def test_the_stage_reads_data_alone() -> None:
    assert (STAGE.name, STAGE.needs, STAGE.config) == ("mesh", ("data",), MeshConfig)
