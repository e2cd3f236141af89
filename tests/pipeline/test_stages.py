from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.plan import STAGES, check_data, contents, read_by_workers
from reid_core.errors import UserError
from stages.data import DataConfig
from stages.mesh import MeshConfig


def test_stages_read_only_what_ran_before_them() -> None:
    done: set[str] = set()
    for stage in STAGES:
        assert set(stage.needs) <= done, stage.name
        done.add(stage.name)
    assert [stage.name for stage in STAGES] == [
        "data", "mesh", "identity", "generator", "cluster", "joint", "evaluate", "report",
    ]  # fmt: skip


def test_every_field_says_what_it_is() -> None:
    for stage in STAGES:
        for name, field in stage.config.model_fields.items():
            assert field.description, f"{stage.name}.{name}"


def test_the_content_of_rendered_people_is_their_settings() -> None:
    one, same = DataConfig(), DataConfig(image_height=64, image_width=32)
    other = DataConfig.model_validate({"synthetic": {"seed": 1}})
    digests = [contents({"data": config})["data"]() for config in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_maps_from_elsewhere_count_by_their_content(tmp_path: Path) -> None:
    for angle in ("", "_45", "_90", "_135", "_180", "_225", "_270", "_315"):
        (tmp_path / f"render{angle}").mkdir()
    configs = {"data": DataConfig(), "mesh": MeshConfig(source="images", maps_dir=tmp_path)}
    empty = contents(configs)["mesh"]()
    (tmp_path / "render_45" / "a.png").write_bytes(b"one")
    one = contents(configs)["mesh"]()
    (tmp_path / "render_45" / "a.png").write_bytes(b"two")
    assert len({empty, one, contents(configs)["mesh"]()}) == 3
    assert "mesh" not in contents({"data": DataConfig(), "mesh": MeshConfig()})
    (tmp_path / "render_315").rmdir()
    with pytest.raises(UserError, match="render_315 is missing"):
        contents(configs)["mesh"]()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        check_data(DataConfig(dataset="folder", data_root=tmp_path / "none"))


def _identity(weights: str) -> BaseModel:
    [stage] = [stage for stage in STAGES if stage.name == "identity"]
    return stage.config.model_validate({"weights": weights})


def test_every_file_that_workers_open_is_named(tmp_path: Path) -> None:
    weights, model, table = tmp_path / "encoder.pth", tmp_path / "SMPL.pkl", tmp_path / "bodies.parquet"
    weights.write_bytes(b"")
    rendered = {"data": DataConfig(), "mesh": MeshConfig(), "identity": _identity("offline")}
    assert read_by_workers(rendered) == []
    photographs = {
        "data": DataConfig(dataset="folder", data_root=tmp_path),
        "mesh": MeshConfig(source="smpl", smpl_model=model, smpl_table=table),
        "identity": _identity(str(weights)),
    }
    assert read_by_workers(photographs) == [tmp_path, model, weights]
    maps = MeshConfig(source="images", maps_dir=tmp_path / "maps", smpl_model=model)
    assert read_by_workers({**rendered, "mesh": maps}) == [tmp_path / "maps"]
