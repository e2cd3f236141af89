from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from infra.compute.local import LocalCompute
from infra.home import Home
from infra.tracking.mlflow import mlflow_client
from infra.tracking.protocol import SilentTracker
from infra.tracking.store import RunStore
from pipeline.show import Amounts, draw_pictures, show
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


def test_pictures_go_to_a_folder_and_to_the_run(
    people: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    store = RunStore(home, f"sqlite:///{home.database}", "people")
    parent = store.start("people tiny", params={}, tags={"kind": "pipeline"}, parent=None)
    for name, folder in people.items():
        run_id = store.start(name, params={}, tags={"stage": name}, parent=parent)
        store.upload(run_id, folder)
        store.end(run_id, "FINISHED")
    store.end(parent, "FINISHED")

    show(home, None, None, replace(AMOUNTS, num_images_mapped=0), num_cpus=1, console=Console(soft_wrap=True))
    folder = home.root / "pictures" / f"people-tiny-{parent[:8]}"
    drawn = sorted(path.name for path in folder.glob("*.png"))
    assert "generator-grid.png" in drawn
    assert f"{len(drawn)} pictures of people tiny in {folder}" in capsys.readouterr().out
    stored = mlflow_client(store.uri).list_artifacts(parent, "pictures")
    assert sorted(Path(file.path).name for file in stored) == drawn

    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, wanted a folder"):
        show(home, "people tiny", tmp_path / "file", AMOUNTS, num_cpus=1, console=Console())
    with pytest.raises(UserError, match='no finished pipeline is called "nobody"'):
        show(home, "nobody", None, AMOUNTS, num_cpus=1, console=Console())
