import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
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


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Own photographs, of which nothing is known."""
    for index in range(12):
        Image.new("RGB", (32, 64), (index, 0, 0)).save(tmp_path / f"a{index}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("stage", "settings", "sentence"),
    [
        ("identity", {"weights": "/none.pth"}, "/none.pth does not exist"),
        ("identity", {"weights": "imagenet", "arch": "resnet10"}, "no ImageNet weights for resnet10"),
        ("identity", {"weights": "offline", "arch": "resnet50"}, "offline ImageNet weights are there for"),
        ("identity", {"arch": "resnet7", "weights": "none"}, "'resnet7' is unknown"),
        ("identity", {"cameras": {"weight": 1.0}, "weights": "none"}, "identity.cameras.weight wants the camera"),
        ("identity", {"use_cameras": True}, "identity.use_cameras wants the camera"),
        ("identity", {"clustering": {"min_cameras": 2}}, "identity.clustering.min_cameras wants the camera"),
        ("identity", {"num_ranks": 3}, "identity: a batch of 256 images does not split by num_ranks=3"),
        ("cluster", {"clustering": {"centre_cameras": True}}, "cluster.clustering.centre_cameras wants the camera"),
        ("joint", {"use_cameras": True}, "joint.use_cameras wants the camera"),
        ("joint", {"angles": [30]}, "rotations are wanted among"),
        ("generator", {"angles": [30]}, "rotations are wanted among"),
        ("generator", {"batch_size": 16, "num_ranks": 5}, "does not split by num_ranks=5"),
        ("mesh", {"source": "truth"}, "the images of this data set are photographs"),
        ("mesh", {"source": "smpl"}, "wants mesh.smpl_table, but it is not set"),
        ("data", {"dataset": "folder", "image_height": 32, "image_width": 16}, "32 x 16 pixels are too small for"),
    ],
)
def test_what_a_stage_would_refuse_is_refused_before_any_work(
    crops: Path, stage: str, settings: dict[str, Any], sentence: str
) -> None:
    classes = {one.name: one.config for one in STAGES}
    known: dict[str, dict[str, Any]] = {"data": {"dataset": "folder"}, "generator": {"discriminator_layers": 5}}
    sections = {name: {**known.get(name, {}), **(settings if name == stage else {})} for name in classes}
    sections["data"]["data_root"] = crops
    with pytest.raises(UserError, match=re.escape(sentence)):
        check({name: classes[name].model_validate(section) for name, section in sections.items()})


def test_stages_after_the_last_one_are_not_checked(crops: Path) -> None:
    data = DataConfig(dataset="folder", data_root=crops)
    prospect = check(configs(data=data, identity=IdentityConfig(weights="/none.pth")), last="mesh")
    assert (prospect.num_train, prospect.num_cameras) == (12, 0)
    assert prospect.not_ranked == "the data set has no query and no gallery images with known people."


def test_files_that_the_source_of_bodies_does_not_read_are_named(caplog: pytest.LogCaptureFixture) -> None:
    check(configs(mesh=MeshConfig(maps_dir=Path("/maps"))))
    assert "mesh.maps_dir is not read, because mesh.source is auto and not images" in caplog.text


def test_the_content_of_a_checkpoint_counts(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pth"
    identity = IdentityConfig(weights=str(path))
    digests = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        digests.append(contents(configs(identity=identity))["identity"]())
    assert digests[0] != digests[1]
    assert contents(configs())["identity"]() is None
