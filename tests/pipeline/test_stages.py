from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.plan import STAGES, check, contents, read_by_workers
from reid_core.errors import UserError
from stages.data import DataConfig
from stages.identity import IdentityConfig
from stages.mesh import MeshConfig


def configs(**other: BaseModel) -> dict[str, BaseModel]:
    """Return the defaults of every stage, and other configurations in their place."""
    return {stage.name: stage.config() for stage in STAGES} | other


def test_stages_read_only_what_ran_before_them() -> None:
    done: set[str] = set()
    for stage in STAGES:
        assert set(stage.needs) <= done, stage.name
        done.add(stage.name)
    assert len(done) == len(STAGES), "names are unique"


def test_every_field_says_what_it_is() -> None:
    for stage in STAGES:
        for name, field in stage.config.model_fields.items():
            assert field.description, f"{stage.name}.{name}"


def test_the_content_of_rendered_people_is_their_settings() -> None:
    one, same = DataConfig(), DataConfig(image_height=64, image_width=32)
    other = DataConfig.model_validate({"synthetic": {"seed": 1}})
    digests = [contents(configs(data=config))["data"]() for config in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_maps_from_elsewhere_count_by_their_content(tmp_path: Path) -> None:
    for angle in ("", "_45", "_90", "_135", "_180", "_225", "_270", "_315"):
        (tmp_path / f"render{angle}").mkdir()
    digest = contents(configs(mesh=MeshConfig(source="images", maps_dir=tmp_path)))["mesh"]
    empty = digest()
    (tmp_path / "render_45" / "a.png").write_bytes(b"one")
    one = digest()
    (tmp_path / "render_45" / "a.png").write_bytes(b"two")
    assert len({empty, one, digest()}) == 3
    assert contents(configs())["mesh"]() is None
    (tmp_path / "render_315").rmdir()
    with pytest.raises(UserError, match="render_315 is missing"):
        digest()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        check(configs(data=DataConfig(dataset="folder", data_root=tmp_path / "none")))


def test_every_file_that_workers_open_is_named(tmp_path: Path) -> None:
    weights, model, table = tmp_path / "encoder.pth", tmp_path / "SMPL.pkl", tmp_path / "bodies.parquet"
    weights.write_bytes(b"")
    assert read_by_workers(configs(identity=IdentityConfig(weights="offline"))) == []
    photographs = configs(
        data=DataConfig(dataset="folder", data_root=tmp_path),
        mesh=MeshConfig(source="smpl", smpl_model=model, smpl_table=table),
        identity=IdentityConfig(weights=str(weights)),
    )
    assert read_by_workers(photographs) == [tmp_path, model, weights]
    maps = MeshConfig(source="images", maps_dir=tmp_path / "maps", smpl_model=model)
    assert read_by_workers(configs(mesh=maps)) == [tmp_path / "maps"]
