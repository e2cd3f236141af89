"""Pseudo labels for the stages: the settings, and the calls that spread the work over the clustering workers.

What a person sees of a clustering: numbers without any identity, a histogram of sizes, and contact sheets.
"""

import logging
import math
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext, Workers
from infra.tracking.protocol import Tracker
from reid_core.clustering.settings import Algorithm, LabelSettings
from reid_core.clustering.worker import ClusterWorker, InvertedListPlan, SearchWith
from reid_core.distributed import broadcast, world
from reid_core.errors import UserError
from reid_core.evaluation.agreement import agreement_of_labels
from reid_core.evaluation.plots.clusters import (
    ClusterView,
    describe_clusters,
    draw_sizes,
    largest,
    most_mixed,
    outliers,
)
from reid_core.evaluation.sheets import Cell, draw_sheet
from reid_core.learning.memory import centre_cameras
from stages.stage import ResultNeutral, StageConfig
from stages.training.data import TrainingImages

_LOG = logging.getLogger(__name__)
_BLOCK = 2048  # images of one search task; fixed, so that the result does not depend on the number of workers
_BLOCK_OF_LISTS = 8192  # the same for inverted lists, whose centres travel with every task
_MOST_PROBED = 1 / 8  # share of the inverted lists; searching more of them takes as long as the exact search
_BYTES_AN_IMAGE = 52_000  # of a worker at its peak: 1.7 GB for 32,621 images of 2,048 numbers
_NUM_SAMPLED = 1000  # images whose approximate neighbours are compared with the exact ones
_SECONDS_BETWEEN_LINES = 10.0
_ROWS_NAMED = 5
_UNIT = 1e-3  # how far a norm may be from 1 without being set to it


class ClusterConfig(StageConfig):
    """How training images become pseudo labels."""

    k1: int = Field(30, ge=1, le=1000, description="Length of the reciprocal neighbour lists, in images (paper).")
    k2: int = Field(6, ge=1, le=1000, description="Neighbours averaged in query expansion; 1 = off (paper).")
    eps: float = Field(0.55, gt=0, lt=1, description="Largest Jaccard distance of linked images (paper).")
    min_samples: int = Field(4, ge=1, description="Images, itself included, that make a core image (paper).")
    algorithm: Algorithm = Field("dbscan", description="Groups the linked images: dbscan (paper), or leiden.")
    resolution: float = Field(1.0, gt=0, le=100, description="Of leiden: larger gives smaller clusters (ours).")
    min_cluster_size: int = Field(1, ge=1, description="Smaller clusters become outliers, in images; 1 = off (ours).")
    centre_cameras: bool = Field(
        False,
        description="Take each camera's mean feature away first, so that people and not cameras are grouped (ours).",
    )
    min_cameras: int = Field(
        1, ge=1, le=1000, description="Clusters seen by fewer cameras become outliers; 1 = off, no camera is used."
    )
    reliable_only: bool = Field(False, description="Unreliable images become outliers (SpCL).")
    reliability_step: float = Field(0.02, gt=0, le=0.5, description="How far eps moves to test reliability (SpCL).")
    min_independence: float = Field(0.8, ge=0, le=1, description="Least independence of a reliable cluster (ours).")
    neighbours: Literal["exact", "ivf"] = Field("exact", description="exact, or ivf: approximate, for large data.")
    search_with: SearchWith = Field(
        "auto", description="faiss, torch, or auto: torch where there is a GPU that FAISS cannot use."
    )
    num_lists: int = Field(0, ge=0, le=1 << 20, description="Of ivf: inverted lists; 0 = 4 sqrt(images) (ours).")
    num_probed: int = Field(0, ge=0, le=1 << 20, description="Of ivf: lists a query searches; 0 = by recall (ours).")
    target_recall: float = Field(0.98, gt=0, le=1, description="Of ivf: recall on a sample to reach (ours).")
    num_workers: Annotated[int, ResultNeutral()] = Field(1, ge=1, le=256, description="FAISS processes (ours).")
    cpus_per_worker: Annotated[int, ResultNeutral()] = Field(
        0, ge=0, le=1024, description="CPUs of each; 0 = an equal share of all (ours)."
    )

    def camera_ids(self) -> list[str]:
        """Return the settings by which camera ids reach the labels."""
        return ["centre_cameras"] * self.centre_cameras + ["min_cameras"] * (self.min_cameras > 1)

    def label_settings(self) -> LabelSettings:
        """Return what decides the labels beside the features."""
        return LabelSettings(
            k1=self.k1,
            k2=self.k2,
            eps=self.eps,
            min_samples=self.min_samples,
            algorithm=self.algorithm,
            resolution=self.resolution,
            min_cluster_size=self.min_cluster_size,
            min_cameras=self.min_cameras,
            reliable_only=self.reliable_only,
            reliability_step=self.reliability_step,
            min_independence=self.min_independence,
        )


class PseudoLabels(NamedTuple):
    """Outcome of one clustering.

    Attributes:
        labels: Cluster from 0, or -1 for an outlier, (N,) int64.
        num_clusters: Number of clusters.
        num_outliers: Number of images without a cluster.
        note: Sentence that explains the fallback when fewer than two clusters were found, else empty.
        eps: Distance that was used in the end.
        silhouette: Mean Jaccard silhouette of the clustered images, without any identity, in [-1, 1].
        num_dropped: Outliers that only a constraint made outliers.
        recall: Of the neighbour lists, measured on a sample; None when the search was exact.
    """

    labels: np.ndarray
    num_clusters: int
    num_outliers: int
    note: str = ""
    eps: float = 0.0
    silhouette: float = 0.0
    num_dropped: int = 0
    recall: float | None = None


def start_cluster_workers(compute: Compute, config: ClusterConfig, num_images: int = 0) -> Workers:
    """Start the pool that ``pseudo_labels`` wants; each worker gets its share of the CPUs as threads.

    Args:
        compute: Where the pool lives.
        config: Clustering settings.
        num_images: Images to cluster, so that a cluster puts the workers where there is memory for them.

    Returns:
        The pool.
    """
    cpus = config.cpus_per_worker or max(1, compute.num_cpus // config.num_workers)
    return compute.start_workers(
        ClusterWorker, config.num_workers, cpus=cpus, memory_bytes=num_images * _BYTES_AN_IMAGE
    )


def pseudo_labels(
    features: np.ndarray, workers: Workers, config: ClusterConfig, *, cameras: np.ndarray | None = None
) -> PseudoLabels:
    """Cluster images in the workers' processes.

    Args:
        features: Features of any length but 0, (N, D); normalised here where they are not.
        workers: Pool of ``ClusterWorker``.
        config: All settings.
        cameras: Camera of each image, (N,), or None where unknown; wanted by ``min_cameras`` and
            ``centre_cameras`` only.

    Returns:
        Labels; the same for every number of workers.

    Raises:
        UserError: When features are not finite or zero, or cameras are wanted and unknown.
    """
    if config.min_cameras > 1 and cameras is None:
        raise UserError(
            f"min_cameras={config.min_cameras} wants the camera of every image, but the data set has none; set it to 1"
        )
    if config.centre_cameras and cameras is None:
        raise UserError("centre_cameras wants the camera of every image, but the data set has none; set it to false")
    features = prepared(features)
    if config.centre_cameras and cameras is not None:
        features = centre_cameras(torch.from_numpy(features), torch.from_numpy(cameras)).numpy()
    lists, recall = (_exact if config.neighbours == "exact" else _approximate)(features, workers, config)
    settings = config.label_settings()
    task = (lists, settings, cameras if config.min_cameras > 1 else None)
    [found] = workers.map("label", [task], shared=features)
    if found.note:
        _LOG.warning("clustering found %s", found.note)
    labels: np.ndarray = found.labels
    num_clusters, num_outliers = int(labels.max()) + 1, int((labels < 0).sum())
    return PseudoLabels(
        labels, num_clusters, num_outliers, found.note, found.eps, found.silhouette, found.num_dropped, recall
    )


def prepared(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) as contiguous float32 rows of length 1, or say in one sentence why that cannot be."""
    if features.ndim != 2 or not features.size:
        raise UserError(f"features of shape (images, numbers) are wanted, but {features.shape} came; embed the images")
    features = np.ascontiguousarray(features, dtype=np.float32)
    norms = np.linalg.norm(features, axis=1)
    broken = np.flatnonzero(~np.isfinite(norms))
    if len(broken):
        raise UserError(
            f"the features to cluster hold NaN or infinity in {_named(broken)}: training diverged; lower the learning "
            "rate of the stage"
        )
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        raise UserError(
            f"the features to cluster are all 0 in {_named(zero)}, which is no direction: training collapsed; lower "
            "the learning rate of the stage"
        )
    if (np.abs(norms - 1) > _UNIT).any():
        features = features / norms[:, None]
    return features


def _named(rows: np.ndarray) -> str:
    shown = ", ".join(str(row) for row in rows[:_ROWS_NAMED])
    more = f" and {len(rows) - _ROWS_NAMED} more" if len(rows) > _ROWS_NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


def _exact(features: np.ndarray, workers: Workers, config: ClusterConfig) -> tuple[np.ndarray, None]:
    token = uuid.uuid4().hex
    tasks = [(start, stop, config.k1, token, config.search_with) for start, stop in _blocks(len(features), _BLOCK)]
    found = workers.map("search", tasks, shared=features, on_result=_SearchLog(len(features), _BLOCK))
    return np.concatenate([indices for indices, _ in found]), None


def _approximate(features: np.ndarray, workers: Workers, config: ClusterConfig) -> tuple[np.ndarray, float | None]:
    """Search inverted lists, trained once, so that every worker has the same; exactly where that would be slower."""
    num_images = len(features)
    num_lists = min(config.num_lists or max(1, round(4 * math.sqrt(num_images))), num_images)
    [centres] = workers.map("train_lists", [(num_lists,)], shared=features)
    plan = InvertedListPlan(uuid.uuid4().hex, centres, min(config.num_probed or 1, num_lists))
    most_probed = plan.num_probed if config.num_probed else max(1, int(_MOST_PROBED * num_lists))
    measured = (config.k1, plan, _NUM_SAMPLED, config.target_recall, most_probed)
    [(recall, num_probed)] = workers.map("measure_recall", [measured], shared=features)
    if recall < config.target_recall and not config.num_probed:
        _LOG.warning(
            "%d of %d inverted lists have a recall of %.3f, below target_recall=%g: neighbours are searched exactly",
            num_probed,
            num_lists,
            recall,
            config.target_recall,
        )
        return _exact(features, workers, config)
    _LOG.info("%d of %d inverted lists have a recall of %.3f", num_probed, num_lists, recall)
    plan = plan._replace(num_probed=num_probed)
    tasks = [(start, stop, config.k1, plan) for start, stop in _blocks(num_images, _BLOCK_OF_LISTS)]
    found = workers.map("search_lists", tasks, shared=features, on_result=_SearchLog(num_images, _BLOCK_OF_LISTS))
    return np.concatenate([indices for indices, _ in found]), recall


class _SearchLog:
    """Tells now and then how far a long search is."""

    def __init__(self, num_images: int, block: int) -> None:
        self._num_images, self._block = num_images, block
        self._start = self._last = time.monotonic()

    def __call__(self, num_results: int) -> None:
        now, done = time.monotonic(), min(num_results * self._block, self._num_images)
        if now - self._last < _SECONDS_BETWEEN_LINES or done == self._num_images:
            return
        self._last = now
        rate = done / (now - self._start)
        _LOG.info(
            "searching neighbours: %d of %d images, %.0f images/s, %.0f s left",
            done,
            self._num_images,
            rate,
            (self._num_images - done) / rate,
        )


def _blocks(num_images: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, num_images)) for start in range(0, num_images, size)]


def write_pseudo_labels(path: Path, image_ids: Sequence[str], labels: np.ndarray) -> None:
    """Write labels (N,) beside their image ids as Parquet."""
    assert len(image_ids) == len(labels), (len(image_ids), len(labels))
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image_id": pa.array(image_ids, pa.string()), "label": pa.array(labels, pa.int64())}
    pq.write_table(pa.table(columns), path)


def read_pseudo_labels(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Read what ``write_pseudo_labels`` wrote: image ids, and labels (N,) int64."""
    table = pq.read_table(path)
    return tuple(table["image_id"].to_pylist()), table["label"].to_numpy().astype(np.int64)


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


def cluster_features(
    features: Tensor, context: TrainContext, config: ClusterConfig, *, cameras: Tensor | None = None
) -> tuple[Tensor, PseudoLabels]:
    """Cluster on rank 0, in the workers' processes, and tell every rank.

    Args:
        features: L2-normalised, on the CPU, shape (N, D).
        context: Of the training loop; it has workers.
        config: Clustering settings.
        cameras: Camera of each image, shape (N,), or None where unknown; read when the settings ask for it.

    Returns:
        Labels on the CPU, shape (N,), and on rank 0 the whole outcome (elsewhere rebuilt from the labels).
    """
    rank, _ = world()
    found: PseudoLabels | None = None
    labels = torch.empty(len(features), dtype=torch.long)
    if rank == 0:
        assert context.workers is not None, "clustering needs FAISS workers"
        found = pseudo_labels(
            features.numpy(), context.workers, config, cameras=None if cameras is None else cameras.numpy()
        )
        labels = torch.from_numpy(found.labels).long()
    labels = broadcast(labels.to(context.device)).cpu()
    if found is None:
        found = PseudoLabels(labels.numpy(), int(labels.max()) + 1, int((labels < 0).sum()))
    return labels, found
