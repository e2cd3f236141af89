"""What a person sees of a clustering: numbers without any identity, a histogram of sizes, and contact sheets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from infra.compute.protocol import TrainContext
from infra.tracking.protocol import Tracker
from reid_core.evaluation.agreement import agreement_of_labels
from reid_core.evaluation.cluster_sheets import ClusterView, describe_clusters, largest, most_mixed, outliers
from reid_core.evaluation.cluster_sizes import draw_sizes
from reid_core.evaluation.sheets import Cell, draw_sheet
from stages.clustering import ClusterConfig, PseudoLabels
from stages.training import TrainingImages, cluster_features

PICTURES = "pictures"


def cluster_epoch(
    features: Tensor,
    images: TrainingImages,
    context: TrainContext,
    config: ClusterConfig,
    *,
    previous: Tensor | None,
    pictures_in: Path | None,
) -> tuple[Tensor, dict[str, float]]:
    """Cluster the training images for an epoch, and let rank 0 draw what came out.

    Args:
        features: L2-normalised, on the CPU, shape (N, D).
        images: N images.
        context: Of the training loop.
        config: Clustering settings.
        previous: Labels of the epoch before, shape (N,), or None.
        pictures_in: Folder of the stage where pictures are wanted, else None.

    Returns:
        Labels on the CPU, shape (N,), and what is logged of them.
    """
    labels, found = cluster_features(features, context, config, cameras=images.cameras)
    if context.rank == 0 and pictures_in is not None:
        write_cluster_pictures(
            features.numpy(), found.labels, lambda index: images.pixels[index], pictures_in, context.tracker
        )
    return labels, cluster_numbers(found, None if previous is None else previous.numpy())


def cluster_numbers(found: PseudoLabels, previous: np.ndarray | None = None) -> dict[str, float]:
    """Return what is logged of a clustering, by name.

    Args:
        found: The clustering.
        previous: Labels of the clustering before, (N,), or None.

    Returns:
        Counts; ``silhouette`` of the clustered images, and ``silhouette_all``, in which an outlier counts 0, so that
        leaving images out earns nothing; ``neighbour_recall`` where the search was approximate; and, where there was a
        clustering before, ``agreement_previous`` and ``agreement_previous_nmi``, how far the labels are the same, and
        ``clustered_agreement``, the first of them times the share of images in a cluster. None looks at any truth.
    """
    sizes = np.bincount(found.labels[found.labels >= 0])
    share = float((found.labels >= 0).mean())
    numbers: dict[str, float] = {
        "num_clusters": found.num_clusters,
        "num_outliers": found.num_outliers,
        "num_dropped": found.num_dropped,
        "largest_cluster": int(sizes.max(initial=0)),
        "median_cluster": float(np.median(sizes)) if len(sizes) else 0.0,
        "silhouette": found.silhouette,
        "silhouette_all": found.silhouette * share,
    }
    if found.recall is not None:
        numbers["neighbour_recall"] = found.recall
    if previous is not None:
        agreed = agreement_of_labels(found.labels, previous)
        numbers |= {
            "agreement_previous": agreed.ari,
            "agreement_previous_nmi": agreed.nmi,
            "clustered_agreement": agreed.ari * share,
        }
    return numbers


def write_cluster_pictures(
    features: np.ndarray,
    labels: np.ndarray,
    pixels: Callable[[np.ndarray], Tensor],
    out_dir: Path,
    tracker: Tracker,
    *,
    num_clusters: int = 8,
    num_images: int = 10,
) -> list[ClusterView]:
    """Write ``pictures/clusters-*.png`` and ``pictures/cluster-sizes.png`` and show them in the tracker.

    Args:
        features: L2-normalised, (N, D) float32.
        labels: Cluster from 0, or -1 for an outlier, (N,).
        pixels: Returns the images at some positions (M,), uint8, (M, 3, H, W).
        out_dir: Of the stage.
        tracker: Of the stage.
        num_clusters: Rows of a sheet.
        num_images: Images of a row.

    Returns:
        All clusters, described.
    """
    folder = out_dir / PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    views = describe_clusters(features, labels, num_shown=num_images)
    sheets = {
        "clusters-largest.png": largest(views, num_clusters),
        "clusters-most-mixed.png": most_mixed(views, num_clusters),
        "clusters-outliers.png": outliers(labels, num_clusters, num_images),
    }
    for name, shown in sheets.items():
        (folder / name).unlink(missing_ok=True)  # an earlier epoch may have had outliers, this one none
        if shown:
            rows = [[Cell(image) for image in pixels(view.members)] for view in shown]
            draw_sheet(rows, [_title(view) for view in shown]).save(folder / name)
            tracker.log_file(folder / name, PICTURES)
    draw_sizes([view.size for view in views], int((labels < 0).sum()), folder / "cluster-sizes.png")
    tracker.log_file(folder / "cluster-sizes.png", PICTURES)
    return views


def _title(view: ClusterView) -> str:
    if view.label < 0:
        return "outliers"
    return f"cluster {view.label}: {view.size} images, spread {view.spread:.2f}"
