from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.data.manifest import UnlabelledImages
from reid_core.errors import UserError
from reid_core.mesh.cache import open_mesh_cache
from reid_core.mesh.guidance import ANGLES
from reid_core.mesh.rendered_maps import RenderedMapsSource
from reid_core.mesh.smpl_source import SmplSource
from reid_core.mesh.sources import EstimateSource, TruthSource
from stages.data import DataConfig
from stages.data import run as run_data
from stages.mesh import MeshConfig, content_digest, plan_source, run
from tests.reid_core.mesh.fake_smpl import write_npz
from tests.stages.pictures import write_crops

NAMES = ("a", "b", "c")


@pytest.fixture
def images(tmp_path: Path) -> UnlabelledImages:
    paths = tuple(tmp_path / "images" / f"{name}.png" for name in NAMES)
    paths[0].parent.mkdir()
    for path in paths:
        Image.new("RGB", (32, 64)).save(path)
    return UnlabelledImages(tuple(f"train-{index:06d}" for index in range(len(NAMES))), paths, None)


def write_table(path: Path, names: tuple[str, ...]) -> Path:
    pose = np.zeros((len(names), 72))
    pose[:, 0] = np.pi
    camera = np.tile([1.0, 0.0, 0.35], (len(names), 1))
    np.savez(path, imgname=np.array(names), pose=pose, betas=np.zeros((len(names), 10)), pred_cam=camera)
    return path


def write_maps(folder: Path, names: tuple[str, ...]) -> Path:
    for angle in ANGLES:
        place = folder / ("render" if angle == 0 else f"render_{angle}")
        place.mkdir(parents=True)
        for name in names:
            pixels = np.zeros((64, 32), dtype=np.uint8)
            pixels[8:60, 10:20] = 100 + angle // 3
            Image.fromarray(pixels).save(place / f"{name}.png")
    return folder


def test_auto_takes_the_truth_where_there_is_one(tmp_path: Path, images: UnlabelledImages) -> None:
    estimate = plan_source(MeshConfig(), images, tmp_path, "t", "cpu")
    assert (estimate.name, estimate.source(images.paths)) == ("estimate", EstimateSource("t"))
    (tmp_path / "truth.parquet").touch()
    truth = plan_source(MeshConfig(), images, tmp_path, "t", "cpu")
    assert (truth.name, truth.source(images.paths)) == ("truth", TruthSource(tmp_path / "truth.parquet", "t"))
    assert truth.digest != estimate.digest
    (tmp_path / "truth.parquet").write_bytes(b"other people")
    assert plan_source(MeshConfig(), images, tmp_path, "t", "cpu").digest != truth.digest
    assert plan_source(MeshConfig(source="none"), images, tmp_path, "t", "cpu").name == "none"


def test_smpl_tells_how_many_images_the_table_lacks(tmp_path: Path, images: UnlabelledImages) -> None:
    table, model = write_table(tmp_path / "t.npz", ("x/a.jpg", "x/c.jpg")), write_npz(tmp_path / "m.npz")
    config = MeshConfig(source="smpl", smpl_table=table, smpl_model=model)
    plan = plan_source(config, images, tmp_path, "t", "cpu")
    assert plan.notes == (f"1 of 3 images are not in {table}.",)
    source = plan.source(images.paths[1:])
    assert isinstance(source, SmplSource)
    assert source.table.names == (images.paths[2].as_posix(),)
    before = content_digest(config)
    write_table(table, NAMES)
    assert content_digest(config) != before
    assert plan_source(config, images, tmp_path, "t", "cpu").notes == ()


def test_maps_tell_which_images_lack_one(tmp_path: Path, images: UnlabelledImages) -> None:
    folder = write_maps(tmp_path / "maps", NAMES)
    (folder / "render_180" / "b.png").unlink()
    plan = plan_source(MeshConfig(source="images", maps_dir=folder), images, tmp_path, "t", "cpu")
    assert plan.notes == (f"1 of 3 images lack a map in {folder} (b.png).",)
    source = plan.source(images.paths)
    assert isinstance(source, RenderedMapsSource)
    assert set(source.files) == {images.paths[0], images.paths[2]}


def test_what_is_named_must_exist(tmp_path: Path, images: UnlabelledImages) -> None:
    with pytest.raises(UserError, match=r"wants mesh\.maps_dir, but it is not set"):
        content_digest(MeshConfig(source="images"))
    table = write_table(tmp_path / "t.npz", NAMES)
    (tmp_path / "m.pkl").write_bytes(b"no model")
    with pytest.raises(UserError, match="is no SMPL model"):
        content_digest(MeshConfig(source="smpl", smpl_table=table, smpl_model=tmp_path / "m.pkl"))
    with pytest.raises(ValidationError):
        MeshConfig.model_validate({"source": "hmr"})


@pytest.mark.parametrize("source", ["smpl", "images"])
def test_the_stage_runs_on_bodies_from_elsewhere(source: str, tmp_path: Path) -> None:
    crops = write_crops(tmp_path / "crops", 9)
    names = tuple(sorted(path.stem for path in crops.iterdir()))[:8]
    config = MeshConfig(
        source=source,
        smpl_table=write_table(tmp_path / "t.npz", tuple(f"{name}.png" for name in names)),
        smpl_model=write_npz(tmp_path / "m.npz"),
        maps_dir=write_maps(tmp_path / "maps", names),
        images_per_shard=2,
    )
    compute = LocalCompute(num_cpus=1)
    for name in ("data", "mesh"):
        (tmp_path / name).mkdir()
    pictures = DataConfig(dataset="folder", data_root=crops, image_height=64, image_width=32)
    run_data(pictures, {}, tmp_path / "data", compute, SilentTracker())
    run(config, {"data": tmp_path / "data"}, tmp_path / "mesh", compute, SilentTracker())
    compute.close()
    cache = open_mesh_cache(tmp_path / "mesh" / "mesh_cache")
    assert cache.statuses() == {"ok": 8, "no_mesh": 1}
    assert cache.info.source == source
    able = [name for name in cache.image_ids if bool(cache.available([name])[0])]
    covered = (cache.guidance(able, ANGLES) > 0).float().mean(dim=(2, 3))
    assert bool(((covered > 0.1) & (covered < 0.9)).all())
