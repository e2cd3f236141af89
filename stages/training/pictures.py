"""Sheets that the training stages write and show in the tracker: clusters, rotations, mixes."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from infra.tracking.protocol import Tracker
from reid_core.evaluation.plots.clusters import (
    ClusterView,
    describe_clusters,
    draw_sizes,
    largest,
    most_mixed,
    outliers,
)
from reid_core.evaluation.plots.generated import generator_grid, mixing_sheet
from reid_core.evaluation.sheets import Cell, draw_sheet
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from stages.training.data import ANGLES, GuidanceSource

PICTURES = "pictures"


class ImageBatches(Protocol):
    """Training images, by position."""

    def batch(self, index: Tensor, device: torch.device) -> Tensor:
        """Return images in [-1, 1] on a device, shape (B, 3, H, W)."""
        ...


def write_pictures(
    generator: Generator,
    encoder: IdentityEncoder,
    images: ImageBatches,
    guidance: GuidanceSource,
    out_dir: Path,
    tracker: Tracker,
    *,
    num_people: int = 8,
) -> None:
    """Write ``pictures/generator-grid.png`` and ``pictures/mixing-grid.png`` and show them in the tracker.

    Args:
        generator: S and G.
        encoder: Identity encoder; pictures are made in evaluation mode, its modes are restored.
        images: Training images.
        guidance: Their guidance maps.
        out_dir: Of the stage.
        tracker: Of the stage.
        num_people: Rows of a sheet.
    """
    folder = out_dir / PICTURES
    folder.mkdir(exist_ok=True)
    device = next(generator.parameters()).device
    modes = [(module, module.training) for network in (encoder, generator) for module in network.modules()]
    encoder.eval()
    generator.eval()
    with torch.no_grad():
        index = guidance.for_pictures(num_people)
        people = images.batch(index, device)  # (B, 3, H, W)
        grid = generator_grid(generator, encoder, people, guidance.all_angles(index, people), [0, *ANGLES])
        index = guidance.for_pictures(num_people)  # half as many pairs, of three rows each
        index = index[: len(index) // 2 * 2]
        people = images.batch(index, device)
        still, _ = guidance.pair(index, torch.zeros(len(index), dtype=torch.long), people)
        mixes = mixing_sheet(generator, encoder, people, still) if len(index) else None
    for module, training in modes:
        module.training = training
    for name, picture in (("generator-grid.png", grid), ("mixing-grid.png", mixes)):
        if picture is not None:
            picture.save(folder / name)
            tracker.log_file(folder / name, PICTURES)


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
    for name, clusters in sheets.items():
        (folder / name).unlink(missing_ok=True)  # an earlier epoch may have had outliers, this one none
        if clusters:
            rows = [[Cell(image) for image in pixels(view.members)] for view in clusters]
            draw_sheet(rows, [_title(view) for view in clusters]).save(folder / name)
            tracker.log_file(folder / name, PICTURES)
    draw_sizes([view.size for view in views], int((labels < 0).sum()), folder / "cluster-sizes.png")
    tracker.log_file(folder / "cluster-sizes.png", PICTURES)
    return views


def _title(view: ClusterView) -> str:
    if view.label < 0:
        return "outliers"
    return f"cluster {view.label}: {view.size} images, spread {view.spread:.2f}"
