import json
from pathlib import Path

import pytest
import torch

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.models.identity import IdentityEncoder
from stages.data import DataConfig, run
from stages.training import monitor as module
from stages.training.monitor import LabelledMonitor
from tests.stages.pictures import write_crops, write_people
from tests.stages.trackers import RecordingTracker


def _data(root: Path, out_dir: Path) -> Path:
    out_dir.mkdir()
    config = DataConfig(dataset="folder", data_root=root, image_height=64, image_width=32)
    run(config, {}, out_dir, LocalCompute(num_cpus=1), SilentTracker())
    return out_dir


@pytest.fixture
def encoder() -> IdentityEncoder:
    torch.manual_seed(0)
    return IdentityEncoder("resnet10")


def test_logs_an_epoch_and_gives_nothing_back(tmp_path: Path, encoder: IdentityEncoder) -> None:
    data_dir = _data(write_people(tmp_path / "people"), tmp_path / "data")
    history, tracker = tmp_path / "out" / "monitor.jsonl", RecordingTracker()
    labels = torch.arange(24) // 4  # the truth: four images a person, sorted
    state = torch.get_rng_state()
    encoder.train()
    assert LabelledMonitor(data_dir, history).log(tracker, 0, encoder, labels) is None  # type: ignore[func-returns-value]
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    [row] = [json.loads(line) for line in history.read_text().splitlines()]
    assert set(row) == {"epoch", "mAP", "rank1", "ari", "nmi", "purity"}
    assert 0 < row["mAP"] <= 100
    assert row["ari"] == pytest.approx(1)
    [(step, metrics)] = tracker.metrics
    assert step == 0
    assert metrics == {f"monitor/{name}": row[name] for name in row if name != "epoch"} | {
        "best_on_test/mAP": row["mAP"]
    }


def test_an_epoch_run_again_after_a_crash_leaves_no_double(tmp_path: Path, encoder: IdentityEncoder) -> None:
    data_dir = _data(write_people(tmp_path / "people"), tmp_path / "data")
    history = tmp_path / "monitor.jsonl"
    for epoch in (0, 1, 2, 1):
        LabelledMonitor(data_dir, history).log(SilentTracker(), epoch, encoder, None)
    rows = [json.loads(line) for line in history.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert "ari" not in rows[0]


def test_test_sets_beyond_memory_are_streamed(
    tmp_path: Path, encoder: IdentityEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = _data(write_people(tmp_path / "people"), tmp_path / "data")
    LabelledMonitor(data_dir, tmp_path / "kept.jsonl").log(SilentTracker(), 0, encoder, None)
    monkeypatch.setattr(module, "_CACHE_BYTES", 0)
    LabelledMonitor(data_dir, tmp_path / "streamed.jsonl").log(SilentTracker(), 0, encoder, None)
    assert (tmp_path / "kept.jsonl").read_text() == (tmp_path / "streamed.jsonl").read_text()


def test_silent_without_identities(tmp_path: Path, encoder: IdentityEncoder) -> None:
    data_dir = _data(write_crops(tmp_path / "crops"), tmp_path / "data")
    tracker = RecordingTracker()
    LabelledMonitor(data_dir, tmp_path / "monitor.jsonl").log(tracker, 0, encoder, torch.zeros(12))
    assert tracker.metrics == []
    assert not (tmp_path / "monitor.jsonl").exists()


def test_one_camera_has_nothing_to_rank_and_is_trained_all_the_same(tmp_path: Path, encoder: IdentityEncoder) -> None:
    root = write_people(tmp_path / "people")
    for path in root.rglob("*_c2*"):
        path.unlink()
    data_dir, tracker = _data(root, tmp_path / "data"), RecordingTracker()
    LabelledMonitor(data_dir, tmp_path / "monitor.jsonl").log(tracker, 0, encoder, torch.arange(12) // 2)
    [(_, metrics)] = tracker.metrics
    assert set(metrics) == {"monitor/ari", "monitor/nmi", "monitor/purity"}


def test_a_test_image_that_is_gone_ends_no_training(
    tmp_path: Path, encoder: IdentityEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_people(tmp_path / "people")
    data_dir = _data(root, tmp_path / "data")
    monitor = LabelledMonitor(data_dir, tmp_path / "monitor.jsonl")
    monitor.log(SilentTracker(), 0, encoder, None)
    next((root / "query").iterdir()).unlink()
    tracker = RecordingTracker()
    LabelledMonitor(data_dir, tmp_path / "monitor.jsonl").log(tracker, 1, encoder, torch.arange(24) // 4)
    [(_, metrics)] = tracker.metrics
    assert set(metrics) == {"monitor/ari", "monitor/nmi", "monitor/purity"}
    assert "the test images were not looked at in epoch 1: " in caplog.text


def test_has_no_public_attribute_but_log(tmp_path: Path) -> None:
    monitor = LabelledMonitor(_data(write_people(tmp_path / "people"), tmp_path / "data"), tmp_path / "monitor.jsonl")
    assert [name for name in dir(monitor) if not name.startswith("_")] == ["log"]
