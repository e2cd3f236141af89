"""Folders as finished stages leave them, small, for the report's tests."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.report import REPORTED
from stages.reporting.facts import StageFacts, read_facts
from stages.training.conditions import Conditions, write_conditions

STAGES = {stage.name: stage for stage in REPORTED}
SUMMARIES: dict[str, dict[str, Any]] = {
    "data": {"dataset": "synthetic", "num_train": 800, "num_query": 80, "num_gallery": 320, "unreadable": 0},
    "mesh": {"images": 800, "status": {"ok": 800}, "topology": "notoes_collapse5pc"},
    "identity": {"num_epochs": 12, "loss": 1.234567},
    "generator": {"num_epochs": 8, "reconstruction": 0.083},
    "cluster": {"num_clusters": 71, "num_outliers": 44},
    "joint": {"num_epochs": 6, "rotation": True},
    "evaluate": {"mAP": 42.1},
}
CONFIGS: dict[str, dict[str, Any]] = {
    "data": {"dataset": "synthetic", "image_height": 64, "image_width": 32},
    "identity": {"seed": 3, "weights": "none", "use_cameras": False, "num_epochs": 12},
    "joint": {"seed": 3, "num_epochs": 6, "temperature": 0.04},
}
LOADED = Conditions(
    camera_ids=(),
    pretraining="none",
    epoch="none",
    dataset="synthetic rendered-1",
    image_size=(64, 32),
    seeds={"identity": 3},
)
WARM = LOADED.trained("identity", 3, 12)
CONDITIONS: dict[str, dict[str, Conditions]] = {
    "identity": {"untrained": LOADED, "identity": WARM},
    "cluster": {"cluster": WARM},
    "joint": {"joint": WARM.trained("joint", 3, 6)},
}
METRICS: dict[str, Any] = {
    "dataset": "synthetic",
    "version": "rendered-1",
    "rows": [
        {"encoder": "untrained", "mAP": 18.0, "rank1": 21.2, "rank5": 40.0, "rank10": 52.0, "rank20": 66.0, "mINP": 5.1,
         "num_queries": 80, "skipped_queries": 0},
        {"encoder": "identity", "mAP": 36.84, "rank1": 45.0, "rank5": 66.0, "rank10": 75.0, "rank20": 83.0,
         "mINP": 11.9, "num_queries": 80, "skipped_queries": 0},
        {"encoder": "joint", "mAP": 42.1, "rank1": 51.3, "rank5": 70.1, "rank10": 79.4, "rank20": 86.0, "mINP": 15.0,
         "num_queries": 80, "skipped_queries": 0},
    ],
    "clusters": [
        {"stage": "cluster", "num_clusters": 71, "num_outliers": 44, "ari": 0.512, "nmi": 0.871},
        {"stage": "joint", "num_clusters": 78, "num_outliers": 21, "ari": 0.604, "nmi": 0.905},
    ],
    "skipped": None,
}  # fmt: skip


def finished_stages(root: Path, *, metrics: Mapping[str, Any] = METRICS) -> dict[str, Path]:
    """Fill a folder a stage and return them by name."""
    inputs = {name: root / name for name in STAGES}
    for index, (name, directory) in enumerate(inputs.items()):
        (directory / "pictures").mkdir(parents=True)
        marker = {
            "stage": name, "version": 1, "fingerprint": f"{index:064x}", "config": CONFIGS.get(name, {}),
            "seconds": 12.5 * (index + 1), "started": "2026-01-02T10:00:00+00:00",
            "finished": f"2026-01-02T10:{index:02d}:00+00:00",
            "packages": {"genvar": "0.1.0", "torch": "2.12.1", "ray": "2.60.0"}, "git_commit": "0123abcd",
        }  # fmt: skip
        (directory / "stage.json").write_text(json.dumps(marker))
        (directory / "summary.json").write_text(json.dumps(SUMMARIES.get(name, {})))
        if name in CONDITIONS:
            write_conditions(directory, CONDITIONS[name])
    for name, num_epochs in (("identity", 12), ("generator", 8), ("joint", 6)):
        rows = [history_row(name, epoch) for epoch in range(num_epochs)]
        (inputs[name] / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, num_epochs in (("identity", 12), ("joint", 6)):
        rows = [
            {
                "epoch": epoch,
                "mAP": 20 + 3 * math.log1p(epoch),
                "rank1": 25 + 4 * math.log1p(epoch),
                "ari": 0.4,
                "nmi": 0.8,
            }
            for epoch in range(num_epochs)
        ]
        (inputs[name] / "monitor.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (inputs["evaluate"] / "metrics.json").write_text(json.dumps(metrics))
    for name, picture, columns in (
        ("generator", "generator-grid", 10),
        ("joint", "mixing-grid", 5),
        ("evaluate", "ranked-lists-random", 11),
        ("cluster", "clusters-largest", 8),
        ("mesh", "guidance", 9),
    ):
        save_noise(inputs[name] / "pictures" / f"{picture}.png", columns)
    return inputs


def facts_of(folders: Mapping[str, Path]) -> dict[str, StageFacts]:
    """Read what stages left in their folders."""
    return {name: read_facts(STAGES[name], folder) for name, folder in folders.items()}


def history_row(name: str, epoch: int) -> dict[str, float]:
    """Return what a training stage would write after an epoch."""
    losses = {
        "identity": {"cluster_contrast": 4.0 / (1 + epoch)},
        "generator": {"image": 0.5 / (1 + epoch), "feature": 1.0 / (1 + epoch), "adversarial": 0.25},
        "joint": {"rotation_contrast": 6.0 / (1 + epoch), "mixing_contrast": 5.0 / (1 + epoch)},
    }[name]
    clusters = {} if name == "generator" else {"num_clusters": 60.0 + epoch, "num_outliers": 50.0 - 3 * epoch}
    return {"epoch": epoch, **losses, **clusters, "images_per_second": 100.0 + epoch}


def save_noise(path: Path, columns: int) -> None:
    """Save a picture of coloured tiles, one row of people high."""
    tiles = np.random.default_rng(0).integers(0, 255, (4, columns, 3), dtype=np.uint8)
    Image.fromarray(tiles.repeat(64, axis=0).repeat(32, axis=1)).save(path)
