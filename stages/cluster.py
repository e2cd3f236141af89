"""The cluster stage: the memory that joint training starts from, its first pseudo labels, and sheets to look at."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker
from reid_core.clustering.worker import ClusterWorker
from reid_core.data.images import load_images
from reid_core.data.manifest import read_manifest, unlabelled
from reid_core.evaluation.cluster_sheets import ClusterView, describe_clusters, largest, most_mixed
from reid_core.evaluation.sheets import Cell, draw_sheet
from stages.clustering import ClusterConfig, pseudo_labels, write_pseudo_labels
from stages.embedding import embed_images
from stages.stage import Stage, StageConfig

MEMORY = "memory.npy"


class ClusterStageConfig(StageConfig):
    """First clustering of the training images."""

    clustering: ClusterConfig = Field(default_factory=ClusterConfig, description="How images become pseudo labels.")
    num_clusters_shown: int = Field(8, ge=1, le=100, description="Clusters of a sheet (ours).")
    num_images_shown: int = Field(10, ge=2, le=100, description="Images of a row of a sheet (ours).")


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
    workers = compute.start_workers(ClusterWorker, settings.num_workers)
    try:
        found = pseudo_labels(
            memory,
            workers,
            k1=settings.k1,
            k2=settings.k2,
            eps=settings.eps,
            min_samples=settings.min_samples,
        )
    finally:
        workers.stop()
    write_pseudo_labels(out_dir / "pseudo_labels" / "epoch-0000.parquet", images.image_ids, found.labels)

    views = describe_clusters(memory, found.labels, num_shown=config.num_images_shown)
    sheets = {
        "clusters-largest": largest(views, config.num_clusters_shown),
        "clusters-most-mixed": most_mixed(views, config.num_clusters_shown),
        "clusters-outliers": _outliers(found.labels, config.num_clusters_shown, config.num_images_shown),
    }
    (out_dir / "pictures").mkdir(parents=True, exist_ok=True)
    for name, shown in sheets.items():
        if shown:
            _draw(shown, images.paths, (height, width), out_dir / "pictures" / f"{name}.png")

    sizes = [view.size for view in views]
    summary = {
        "num_images": len(memory),
        "num_clusters": found.num_clusters,
        "num_outliers": found.num_outliers,
        "largest_cluster": max(sizes, default=0),
        "median_cluster": float(np.median(sizes)) if sizes else 0.0,
        "note": found.note,
    }
    (out_dir / "summary.json").write_text(json.dumps(summary, indent=1))
    tracker.log_metrics({name: value for name, value in summary.items() if isinstance(value, int | float)})


STAGE = Stage("cluster", 1, ClusterStageConfig, ("data", "identity"), run)


def read_memory(cluster_dir: Path) -> np.ndarray:
    """Return the memory rows of the training images in the manifest's order, L2-normalised, (N, D) float32."""
    memory: np.ndarray = np.load(cluster_dir / MEMORY)
    return memory


def _outliers(labels: np.ndarray, num_rows: int, num_columns: int) -> list[ClusterView]:
    outliers = np.flatnonzero(labels < 0)
    shown = outliers[:: max(1, len(outliers) // (num_rows * num_columns))][: num_rows * num_columns]
    starts = range(0, len(shown), num_columns)
    return [ClusterView(-1, len(outliers), 0.0, shown[start : start + num_columns]) for start in starts]


def _draw(views: Sequence[ClusterView], paths: Sequence[Path], size: tuple[int, int], target: Path) -> None:
    rows = [[Cell(image) for image in load_images([paths[i] for i in view.members], size)] for view in views]
    titles = [
        f"cluster {view.label}: {view.size} images, spread {view.spread:.2f}" if view.label >= 0 else "outliers"
        for view in views
    ]
    draw_sheet(rows, titles).save(target)
