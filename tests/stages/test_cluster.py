import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import identity_header, save_weights
from stages.cluster import STAGE, ClusterStageConfig, read_memory, run
from stages.data import DataConfig
from stages.data import run as run_data
from stages.training.clustering import ClusterConfig, read_pseudo_labels
from tests.stages.pictures import write_crops, write_people
from tests.stages.trackers import RecordingTracker


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1)
    yield local
    local.close()


def prepare(root: Path, tmp_path: Path, compute: LocalCompute) -> dict[str, Path]:
    """Run the data stage and put an encoder with random weights where the identity stage would."""
    inputs = {"data": tmp_path / "data", "identity": tmp_path / "identity"}
    for folder in inputs.values():
        folder.mkdir()
    config = DataConfig(dataset="folder", data_root=root, image_height=64, image_width=32)
    run_data(config, {}, inputs["data"], compute, SilentTracker())
    torch.manual_seed(0)
    for name in ("untrained", "identity"):
        encoder = IdentityEncoder("resnet10").eval()
        save_weights(encoder, inputs["identity"] / f"{name}.safetensors", identity_header(encoder, (64, 32)))
    return inputs


def _config() -> ClusterStageConfig:
    return ClusterStageConfig(clustering=ClusterConfig(k1=6, k2=2, min_samples=3), num_images_shown=4)


def test_memory_labels_and_sheets(tmp_path: Path, compute: LocalCompute) -> None:
    inputs = prepare(write_people(tmp_path / "people"), tmp_path, compute)
    out_dir, tracker = tmp_path / "cluster", RecordingTracker()
    out_dir.mkdir()
    run(_config(), inputs, out_dir, compute, tracker)
    memory = read_memory(out_dir)
    assert memory.shape == (24, 512)
    np.testing.assert_allclose(np.linalg.norm(memory, axis=1), 1, atol=1e-5)
    names, labels = read_pseudo_labels(out_dir / "pseudo_labels" / "epoch-0000.parquet")
    assert names == tuple(f"train-{index:06d}" for index in range(24))
    summary = json.loads((out_dir / "summary.json").read_text())
    assert summary["num_clusters"] == labels.max() + 1 >= 2
    assert summary["num_outliers"] == (labels < 0).sum()
    assert tracker.metrics[0][1]["num_clusters"] == summary["num_clusters"]
    pictures = {path.name for path in (out_dir / "pictures").iterdir()}
    assert {"clusters-largest.png", "clusters-most-mixed.png", "cluster-sizes.png"} <= pictures
    assert ("clusters-outliers.png" in pictures) == (summary["num_outliers"] > 0)


def test_a_second_run_in_the_same_folder_gives_the_same(tmp_path: Path, compute: LocalCompute) -> None:
    inputs = prepare(write_crops(tmp_path / "crops"), tmp_path, compute)
    out_dir = tmp_path / "cluster"
    out_dir.mkdir()
    run(_config(), inputs, out_dir, compute, SilentTracker())
    before = read_memory(out_dir), read_pseudo_labels(out_dir / "pseudo_labels" / "epoch-0000.parquet")[1]
    run(_config(), inputs, out_dir, compute, SilentTracker())
    np.testing.assert_array_equal(read_memory(out_dir), before[0])
    np.testing.assert_array_equal(read_pseudo_labels(out_dir / "pseudo_labels" / "epoch-0000.parquet")[1], before[1])


def test_what_the_stage_reads() -> None:
    assert (STAGE.name, STAGE.needs, STAGE.config) == ("cluster", ("data", "identity"), ClusterStageConfig)
