import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from stages.cluster import ClusterStageConfig
from stages.cluster import run as run_cluster
from stages.evaluate import STAGE, EvaluateConfig, run
from stages.training.clustering import ClusterConfig
from tests.stages.pictures import write_crops, write_people
from tests.stages.test_cluster import prepare
from tests.stages.trackers import RecordingTracker


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1)
    yield local
    local.close()


def _evaluate(
    root: Path, tmp_path: Path, compute: LocalCompute, **switches: bool | int
) -> tuple[Path, RecordingTracker]:
    """Evaluate random encoders; the identity stage's and the cluster stage's output stand in for the joint one's."""
    inputs = prepare(root, tmp_path, compute)
    inputs["cluster"] = tmp_path / "cluster"
    inputs["cluster"].mkdir()
    config = ClusterStageConfig(clustering=ClusterConfig(k1=6, k2=2, min_samples=3))
    run_cluster(config, inputs, inputs["cluster"], compute, SilentTracker())
    inputs["joint"] = tmp_path / "joint"
    (inputs["joint"]).mkdir()
    (inputs["joint"] / "identity.safetensors").symlink_to(inputs["identity"] / "identity.safetensors")
    (inputs["joint"] / "pseudo_labels").symlink_to(inputs["cluster"] / "pseudo_labels")
    out_dir, tracker = tmp_path / "evaluate", RecordingTracker()
    out_dir.mkdir()
    settings = {"list_length": 3, "num_queries_shown": 2, "num_bootstrap_samples": 100, **switches}
    run(EvaluateConfig.model_validate(settings), inputs, out_dir, compute, tracker)
    return out_dir, tracker


def test_rows_rankings_and_pictures(tmp_path: Path, compute: LocalCompute) -> None:
    out_dir, tracker = _evaluate(write_people(tmp_path / "people"), tmp_path, compute)
    metrics = json.loads((out_dir / "metrics.json").read_text())
    assert metrics["skipped"] is None
    assert [row["encoder"] for row in metrics["rows"]] == ["untrained", "identity", "joint"]
    for row in metrics["rows"]:
        assert set(row) == {
            *("encoder", "mAP", "rank1", "rank5", "rank10", "rank20", "mINP", "num_queries", "skipped_queries"),
            *("mAP_low", "mAP_high", "rank1_low", "rank1_high"),
        }
        assert row["mAP_low"] <= row["mAP"] <= row["mAP_high"]
        assert row["rank1_low"] <= row["rank1"] <= row["rank1_high"]
        assert 0 < row["mAP"] <= 100
        assert row["num_queries"] == 8
    identity, joint = ({k: v for k, v in row.items() if k != "encoder"} for row in metrics["rows"][1:])
    assert identity == joint, "the same weights give the same row"
    assert [row["stage"] for row in metrics["clusters"]] == ["cluster", "joint"]
    assert -1 <= metrics["clusters"][0]["ari"] <= 1
    pairs = [(p["encoder"], p["query_camera"], p["gallery_camera"]) for p in metrics["camera_pairs"]]
    assert pairs == [(name, *pair) for name in ("untrained", "identity", "joint") for pair in ((0, 1), (1, 0))]
    assert sum(pair["num_queries"] for pair in metrics["camera_pairs"]) == 3 * 8
    rankings = pq.read_table(out_dir / "rankings.parquet").to_pylist()
    assert len(rankings) == 3 * 8 * 3
    assert rankings[0]["query_id"] == "query-000000"
    assert {row["rank"] for row in rankings} == {1, 2, 3}
    for kind in ("random", "best", "worst"):
        assert (out_dir / "pictures" / f"ranked-lists-{kind}.png").is_file()
    summary = json.loads((out_dir / "summary.json").read_text())
    assert summary["joint/mAP"] == metrics["rows"][2]["mAP"]
    assert tracker.metrics[0][1]["joint/mAP"] == summary["joint/mAP"]


def test_re_ranking_and_flip_are_switches(tmp_path: Path, compute: LocalCompute) -> None:
    root = write_people(tmp_path / "people")
    out_dir, tracker = _evaluate(root, tmp_path, compute, rerank=True, rerank_k1=4, flip=True)
    rows = json.loads((out_dir / "metrics.json").read_text())["rows"]
    names = ["untrained", "identity", "identity + re-ranking", "joint", "joint + re-ranking"]
    assert [row["encoder"] for row in rows] == names
    assert all(set(row) == set(rows[0]) for row in rows)
    assert rows[2] == {**rows[4], "encoder": "identity + re-ranking"}, "the same weights give the same row"
    assert tracker.metrics[0][1]["joint-re-ranking/mAP"] == rows[4]["mAP"]


def test_without_identities_one_sentence_says_why(tmp_path: Path, compute: LocalCompute) -> None:
    out_dir, _ = _evaluate(write_crops(tmp_path / "crops"), tmp_path, compute)
    metrics = json.loads((out_dir / "metrics.json").read_text())
    assert metrics["rows"] == []
    assert metrics["skipped"] == (
        "Evaluation was skipped: the data set has no query and no gallery images with known people."
    )
    assert [row["ari"] for row in metrics["clusters"]] == [None, None]
    assert metrics["clusters"][0]["num_clusters"] >= 2
    assert not (out_dir / "rankings.parquet").exists()


def test_what_the_stage_reads() -> None:
    assert (STAGE.name, STAGE.needs) == ("evaluate", ("data", "identity", "cluster", "joint"))
