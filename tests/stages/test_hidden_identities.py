"""No training stage can read an identity: other identities, other file names, the same weights to the bit."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.data.manifest import SCHEMA, Manifest, UnlabelledImages, read_manifest, write_manifest
from stages import cluster, data, generator, identity, joint, mesh
from stages.identity import IdentityConfig
from stages.joint import JointConfig
from stages.stage import Stage, StageConfig
from stages.training.clustering import ClusterConfig
from tests.stages.pictures import write_people

_CLUSTERING = ClusterConfig(k1=6, k2=2, min_samples=3)
_TRAINING: tuple[tuple[Stage, StageConfig], ...] = (
    (mesh.STAGE, mesh.MeshConfig(source="none")),
    (
        identity.STAGE,
        IdentityConfig(
            arch="resnet10",
            weights="none",
            num_epochs=2,
            iterations_per_epoch=1,
            clusters_per_batch=2,
            images_per_cluster=2,
            clustering=_CLUSTERING,
        ),
    ),
    (
        generator.STAGE,
        generator.GeneratorConfig(channels=8, num_blocks=1, discriminator_channels=4, num_epochs=1, batch_size=8),
    ),
    (cluster.STAGE, cluster.ClusterStageConfig(clustering=_CLUSTERING)),
    (joint.STAGE, JointConfig(num_epochs=2, batch_size=8, clustering=_CLUSTERING)),
)


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1, deterministic=True)
    yield local
    local.close()


def _disguise(data_dir: Path, target: Path) -> None:
    """Copy a data stage's output: files named by image id, and people at random."""
    manifest = read_manifest(data_dir / "manifest.parquet")
    target.mkdir(parents=True)
    rows = manifest.table.to_pylist()
    people = np.random.default_rng(0).integers(1, 5, len(rows))
    for row, person in zip(rows, people.tolist(), strict=True):
        path = f"{row['image_id']}.jpg"
        shutil.copy(manifest.root / row["path"], target / path)
        row |= {"path": path, "person_id": person}
    disguised = Manifest(pa.Table.from_pylist(rows, schema=SCHEMA), target, manifest.info)
    write_manifest(disguised, target / "manifest.parquet", root=".")


def _train(outputs: Path, compute: LocalCompute) -> dict[str, bytes]:
    """Run all training stages beside ``outputs / "data"`` and return the files that later stages read."""
    for stage, config in _TRAINING:
        out_dir = outputs / stage.name / "out"
        out_dir.mkdir(parents=True)
        inputs = {need: outputs / "data" if need == "data" else outputs / need / "out" for need in stage.needs}
        stage.run(config, inputs, out_dir, compute, SilentTracker())
    suffixes = {".safetensors", ".npy", ".parquet"}
    found = [path for path in sorted(outputs.glob("*/out/**/*")) if path.suffix in suffixes]
    return {str(path.relative_to(outputs)): path.read_bytes() for path in found if "mesh_cache" not in path.parts}


def test_the_unlabelled_view_has_no_field_for_identities() -> None:
    assert set(UnlabelledImages.__dataclass_fields__) == {"image_ids", "paths", "cameras", "tracklets"}


@pytest.mark.parametrize("name", ["mesh", "identity", "generator", "cluster", "joint", "training/*"])
def test_no_training_stage_names_an_identity(name: str) -> None:
    files = [path for path in Path(data.__file__).parent.glob(f"{name}.py") if path.name != "monitor.py"]
    text = "".join(path.read_text() for path in files)
    assert text
    assert "person_id" not in text
    assert "stages.truth" not in text


def test_other_identities_and_names_give_the_same_weights_to_the_bit(tmp_path: Path, compute: LocalCompute) -> None:
    config = data.DataConfig(
        dataset="folder", data_root=write_people(tmp_path / "people"), image_height=64, image_width=32
    )
    (tmp_path / "true" / "data").mkdir(parents=True)
    data.run(config, {}, tmp_path / "true" / "data", compute, SilentTracker())
    _disguise(tmp_path / "true" / "data", tmp_path / "disguised" / "data")

    true, disguised = (_train(tmp_path / name, compute) for name in ("true", "disguised"))
    assert {path.split("/")[0] for path in true} == {"identity", "generator", "cluster", "joint"}
    assert {path.rsplit("/")[-1] for path in true} >= {"identity.safetensors", "generator.safetensors", "memory.npy"}
    assert true.keys() == disguised.keys()
    assert [path for path in true if true[path] != disguised[path]] == []
    # The disguise was seen where it may be seen: the monitor measured other figures.
    monitors = [(tmp_path / name / "identity" / "out" / "monitor.jsonl").read_text() for name in ("true", "disguised")]
    assert monitors[0] != monitors[1]
