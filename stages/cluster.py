"""The cluster stage: the memory that joint training starts from, its first pseudo labels, and sheets to look at."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker
from reid_core.data.images import load_images
from reid_core.data.manifest import read_manifest, unlabelled
from stages.embedding import embed_images
from stages.stage import Prospect, Stage, StageConfig
from stages.training.clustering import (
    ClusterConfig,
    cluster_numbers,
    pseudo_labels,
    start_cluster_workers,
    write_pseudo_labels,
)
from stages.training.conditions import read_conditions, write_conditions
from stages.training.data import check_cameras
from stages.training.pictures import write_cluster_pictures

MEMORY = "memory.npy"


class ClusterStageConfig(StageConfig):
    """First clustering of the training images."""

    clustering: ClusterConfig = Field(default_factory=ClusterConfig, description="How images become pseudo labels.")
    num_clusters_shown: int = Field(8, ge=1, le=100, description="Clusters of a sheet (ours).")
    num_images_shown: int = Field(10, ge=2, le=100, description="Images of a row of a sheet (ours).")


def check(configs: Mapping[str, Any], prospect: Prospect) -> None:
    """Refuse cameras that nobody knows."""
    settings: ClusterConfig = configs["cluster"].clustering
    check_cameras("cluster", [f"clustering.{name}" for name in settings.camera_ids()], settings, prospect)


def run(
    config: ClusterStageConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker
) -> None:
    """Write ``memory.npy`` (N, D), ``pseudo_labels/epoch-0000.parquet``, sheets and the summary."""
    manifest = read_manifest(inputs["data"] / "manifest.parquet")
    images = unlabelled(manifest)
    height, width = manifest.info["image_size"]
    weights = inputs["identity"] / "identity.safetensors"
    memory = embed_images(weights, images.paths, (height, width), compute, description="Embedding images")
    np.save(out_dir / MEMORY, memory)

    settings = config.clustering
    cameras = None if images.cameras is None else np.array(images.cameras)
    tracklets = None if images.tracklets is None else np.array(images.tracklets)
    workers = start_cluster_workers(compute, settings, len(memory))
    try:
        result = pseudo_labels(memory, workers, settings, cameras=cameras, tracklets=tracklets)
    finally:
        workers.stop()
    write_pseudo_labels(out_dir / "pseudo_labels" / "epoch-0000.parquet", images.image_ids, result.labels)

    write_cluster_pictures(
        memory,
        result.labels,
        lambda index: load_images([images.paths[i] for i in index], (height, width)),
        out_dir,
        tracker,
        num_clusters=config.num_clusters_shown,
        num_images=config.num_images_shown,
    )
    summary = {"num_images": len(memory), **cluster_numbers(result), "eps": result.eps, "note": result.note}
    (out_dir / "summary.json").write_text(json.dumps(summary, indent=1))
    cameras_used = [f"clustering.{name}" for name in settings.camera_ids()]
    warm = read_conditions(inputs["identity"])["identity"]
    write_conditions(out_dir, {"cluster": warm.using("cluster", cameras_used)})
    tracker.log_metrics({name: value for name, value in summary.items() if isinstance(value, int | float)})


STAGE = Stage(
    name="cluster",
    version=2,
    config=ClusterStageConfig,
    needs=("data", "identity"),
    run=run,
    does="embeds every image and gives the first pseudo labels",
    pseudo_labels="after identity warm-up",
    check=check,
)


def read_memory(cluster_dir: Path) -> np.ndarray:
    """Return the memory rows of the training images in the manifest's order, L2-normalised, (N, D) float32."""
    memory: np.ndarray = np.load(cluster_dir / MEMORY)
    return memory
