from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.learning.identity_step import CameraSettings
from stages import cluster, generator, identity, joint
from stages.identity import IdentityConfig
from stages.joint import JointConfig
from stages.training.clustering import ClusterConfig
from stages.training.conditions import Conditions, read_conditions, untrained, write_conditions
from tests.stages.small_configs import CLUSTERING, GENERATOR, IDENTITY, JOINT

LOADED = Conditions(
    camera_ids=(),
    pretraining="none",
    epoch="none",
    dataset="synthetic seed 0",
    image_size=(64, 32),
    seeds={"identity": 3},
)


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1, deterministic=True)
    yield local
    local.close()


@pytest.mark.parametrize(
    ("config", "used"),
    [
        (IdentityConfig(), []),
        (IdentityConfig(use_cameras=True), ["use_cameras"]),
        (IdentityConfig(cameras=CameraSettings(weight=0.5)), ["cameras.weight"]),
        (IdentityConfig(clustering=ClusterConfig(centre_cameras=True)), ["clustering.centre_cameras"]),
        (IdentityConfig(clustering=ClusterConfig(min_cameras=2)), ["clustering.min_cameras"]),
        (JointConfig(), []),
        (JointConfig(use_cameras=True), ["use_cameras"]),
        (JointConfig(clustering=ClusterConfig(centre_cameras=True)), ["clustering.centre_cameras"]),
        (JointConfig(clustering=ClusterConfig(min_cameras=2)), ["clustering.min_cameras"]),
    ],
)
def test_every_setting_that_uses_camera_ids_is_told(config: IdentityConfig | JointConfig, used: list[str]) -> None:
    assert config.camera_ids() == used
    trained = LOADED.trained("stage", 0, 5, config.camera_ids())
    assert trained.camera_ids == tuple(f"stage.{setting}" for setting in used)
    assert trained.words()["camera ids used"] == ("yes" if used else "no")


def test_uses_of_camera_ids_and_seeds_add_up_over_the_stages() -> None:
    warm = LOADED.trained("identity", 3, 12, ["cameras.weight"])
    after = warm.trained("joint", 4, 6)
    assert warm.words()["seeds"] == "1 (seed 3)"
    assert after.words() == {
        "camera ids used": "yes", "pre-training": "none", "epoch": "last (6)",
        "data set": "synthetic seed 0", "image size": "64 x 32", "seeds": "1 (seeds 3 and 4)",
    }  # fmt: skip


def test_settings_of_a_training_without_epochs_used_nothing() -> None:
    kept = LOADED.trained("identity", 0, 0, ["cameras.weight"]).words()
    assert (kept["camera ids used"], kept["epoch"]) == ("no", "none")


def test_what_an_earlier_version_did_not_record_is_unknown(tmp_path: Path) -> None:
    missing = read_conditions(tmp_path)["identity"]
    assert set(missing.words().values()) == {"unknown"}
    assert missing.trained("joint", 0, 6).words()["camera ids used"] == "unknown", (
        "no own use does not mean none before"
    )
    assert missing.trained("joint", 0, 6, ["use_cameras"]).words()["camera ids used"] == "yes"
    (tmp_path / "conditions.json").write_text("[")
    assert read_conditions(tmp_path)["identity"] == Conditions()


def test_records_read_back(tmp_path: Path) -> None:
    write_conditions(tmp_path, {"untrained": LOADED, "identity": LOADED.trained("identity", 3, 12)})
    assert read_conditions(tmp_path) == {"untrained": LOADED, "identity": LOADED.trained("identity", 3, 12)}


def test_nothing_is_known_of_what_made_a_file_of_weights(upstream: dict[str, Path], tmp_path: Path) -> None:
    (file := tmp_path / "own.safetensors").touch()
    loaded = untrained(upstream["data"], weights=str(file), seed=0).words()
    assert (loaded["pre-training"], loaded["camera ids used"]) == ("own.safetensors", "unknown")


def test_the_stages_record_and_inherit_what_they_did(
    upstream: dict[str, Path], tmp_path: Path, compute: LocalCompute
) -> None:
    settings = replace(CLUSTERING, min_cameras=2)
    warm_up = IDENTITY.model_copy(update={"num_epochs": 1, "iterations_per_epoch": 1, "seed": 5,
                                          "cameras": CameraSettings(weight=0.5)})  # fmt: skip
    folders = {**upstream, **{name: tmp_path / name for name in ("identity", "generator", "cluster", "joint")}}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    runs = (
        (identity.STAGE, warm_up),
        (generator.STAGE, GENERATOR.model_copy(update={"num_epochs": 1})),
        (cluster.STAGE, cluster.ClusterStageConfig(clustering=settings)),
        (joint.STAGE, JOINT.model_copy(update={"num_epochs": 1, "use_cameras": True})),
    )
    for stage, config in runs:
        stage.run(config, folders, folders[stage.name], compute, SilentTracker())
    told = {name: one for stage, _ in runs for name, one in read_conditions(folders[stage.name]).items()}
    assert {name: one.camera_ids for name, one in told.items()} == {
        "untrained": (),
        "identity": ("identity.cameras.weight",),
        "generator": ("identity.cameras.weight",),
        "cluster": ("identity.cameras.weight", "cluster.clustering.min_cameras"),
        "joint": ("identity.cameras.weight", "joint.use_cameras"),
    }
    words = told["joint"].words()
    assert (words["seeds"], words["image size"]) == ("1 (seeds 0 and 5)", "64 x 32")
    assert words["data set"] == "synthetic rendered people, seed 0"
