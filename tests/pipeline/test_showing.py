from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from pipeline.show import Amounts, draw_pictures
from reid_core.data.manifest import read_manifest
from reid_core.errors import UserError
from stages import data
from stages.data import DataConfig
from tests.pipeline.finished import SIZE, fill_joint, finished_people
from tests.stages.pictures import write_crops

AMOUNTS = Amounts(num_queries=2, list_length=3, num_people=2, num_clusters=2, num_images_mapped=10)


@pytest.fixture(scope="module")
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1)
    yield local
    local.close()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, compute: LocalCompute) -> dict[str, Path]:
    return finished_people(tmp_path_factory.mktemp("finished"), compute)


def test_every_picture_of_a_finished_pipeline(people: dict[str, Path], tmp_path: Path, compute: LocalCompute) -> None:
    assert draw_pictures(people, tmp_path, AMOUNTS, compute) == []
    drawn = {path.stem for path in tmp_path.iterdir()}
    assert {
        *("people", "ranked-lists-random", "ranked-lists-best", "ranked-lists-worst"),
        *("projection-people", "projection-cameras", "generator-grid", "mixing-grid"),
        *("clusters-largest", "clusters-most-mixed", "clusters-outliers", "cluster-sizes"),
    } <= drawn
    assert ".drawing" not in drawn
    with Image.open(tmp_path / "mixing-grid.png") as sheet:
        assert sheet.width == 7 * 72 + 4, "person i, five mixtures, person j"


def test_what_a_pipeline_does_not_allow_is_said(tmp_path: Path, compute: LocalCompute) -> None:
    crops = write_crops(tmp_path / "crops")
    folders = {"data": tmp_path / "data", "joint": tmp_path / "joint"}
    for folder in folders.values():
        folder.mkdir()
    config = DataConfig(dataset="folder", data_root=crops, image_height=SIZE[0], image_width=SIZE[1])
    data.run(config, {}, folders["data"], compute, SilentTracker())
    manifest = read_manifest(folders["data"] / "manifest.parquet")
    fill_joint(folders["joint"], manifest.split("train").table["image_id"])
    left_out = draw_pictures(folders, tmp_path / "out", AMOUNTS, compute)
    assert left_out == [
        "ranked lists and maps: the data set has no query and no gallery images with known people",
        "generated people: the pipeline has no generator, or no bodies to steer it",
    ]
    assert (tmp_path / "out" / "clusters-largest.png").is_file()
    crops.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="are no longer there"):
        draw_pictures(folders, tmp_path / "out", AMOUNTS, compute)


def test_a_pipeline_that_has_not_trained_has_nothing_to_draw_from(tmp_path: Path, compute: LocalCompute) -> None:
    with pytest.raises(UserError, match="no finished joint stage"):
        draw_pictures({"data": tmp_path}, tmp_path / "out", AMOUNTS, compute)
