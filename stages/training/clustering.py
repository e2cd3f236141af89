"""Pseudo labels of the training images: settings, the work of the clustering workers, and what an epoch logs of it."""

import logging
import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext, Workers
from reid_core.clustering.must_link import link_tracklets
from reid_core.clustering.settings import LabelSettings
from reid_core.clustering.worker import ClusterWorker, InvertedListPlan, SearchWith
from reid_core.distributed import broadcast
from reid_core.errors import UserError
from reid_core.evaluation.agreement import agreement_of_labels
from reid_core.learning.memory import centre_cameras
from stages.stage import ResultNeutral
from stages.training.data import TrainingImages
from stages.training.pictures import write_cluster_pictures

_LOG = logging.getLogger(__name__)
_BLOCK = 2048  # images of one search task; fixed, so that the result does not depend on the number of workers
_BLOCK_OF_LISTS = 8192  # the same for inverted lists, whose centres travel with every task
_MOST_PROBED = 1 / 8  # share of the inverted lists; searching more of them takes as long as the exact search
_BYTES_AN_IMAGE = 52_000  # of a worker at its peak: 1.7 GB for 32,621 images of 2,048 numbers
_NUM_SAMPLED = 1000  # images whose approximate neighbours are compared with the exact ones
_SECONDS_BETWEEN_LINES = 10.0
_IMAGES_NAMED = 5
_UNIT = 1e-3  # how far a norm may be from 1 without being set to it


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ClusterConfig(LabelSettings):
    """How training images become pseudo labels: the label settings, and how neighbours are searched.

    Attributes:
        centre_cameras: Take each camera's mean feature away first, so that people and not cameras are grouped (ours).
        neighbours: exact, or ivf: approximate, for large data.
        search_with: faiss, torch, or auto: torch where there is a GPU that FAISS cannot use.
        num_lists: Of ivf: inverted lists; 0 = 4 sqrt(images) (ours).
        num_probed: Of ivf: lists a query searches; 0 = by recall (ours).
        target_recall: Of ivf: recall on a sample to reach (ours).
        num_workers: FAISS processes (ours).
        cpus_per_worker: CPUs of each; 0 = an equal share of all (ours).
    """

    centre_cameras: bool = False
    neighbours: Literal["exact", "ivf"] = "exact"
    search_with: SearchWith = "auto"
    num_lists: Annotated[int, Ge(0), Le(1 << 20)] = 0
    num_probed: Annotated[int, Ge(0), Le(1 << 20)] = 0
    target_recall: Annotated[float, Gt(0), Le(1)] = 0.98
    num_workers: Annotated[int, Ge(1), Le(256), ResultNeutral()] = 1
    cpus_per_worker: Annotated[int, Ge(0), Le(1024), ResultNeutral()] = 0

    def camera_ids(self) -> list[str]:
        """Return the settings by which camera ids reach the labels."""
        return ["centre_cameras"] * self.centre_cameras + ["min_cameras"] * (self.min_cameras > 1)


class PseudoLabels(NamedTuple):
    """Outcome of one clustering.

    Attributes:
        labels: Cluster from 0, or -1 for an outlier, (N,) int64.
        note: Sentence that explains the fallback when fewer than two clusters were found, else empty.
        eps: Distance that was used in the end.
        silhouette: Mean Jaccard silhouette of the clustered images, without any identity, in [-1, 1].
        num_dropped: Outliers that only a constraint made outliers.
        recall: Of the neighbour lists, measured on a sample; None when the search was exact.
    """

    labels: np.ndarray
    note: str = ""
    eps: float = 0.0
    silhouette: float = 0.0
    num_dropped: int = 0
    recall: float | None = None

    @property
    def num_clusters(self) -> int:
        """Number of clusters."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def num_outliers(self) -> int:
        """Number of images without a cluster."""
        return int((self.labels < 0).sum())


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
    features: np.ndarray,
    workers: Workers,
    config: ClusterConfig,
    *,
    cameras: np.ndarray | None = None,
    tracklets: np.ndarray | None = None,
) -> PseudoLabels:
    """Cluster images in the workers' processes.

    Args:
        features: Features of any length but 0, (N, D); normalised here where they are not.
        workers: Pool of ``ClusterWorker``.
        config: All settings.
        cameras: Camera of each image, (N,), or None where unknown; wanted by ``min_cameras`` and
            ``centre_cameras`` only.
        tracklets: Images of one number from 0 show one person and get one cluster; -1 or None where nothing is known,
            (N,).

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
    # A worker imports the module of what it is sent: this one would bring torch beside FAISS.
    settings = LabelSettings(**{field.name: getattr(config, field.name) for field in fields(LabelSettings)})
    task = (lists, settings, cameras if config.min_cameras > 1 else None)
    [result] = workers.map("label", [task], shared=features)
    if result.note:
        _LOG.warning("clustering found %s", result.note)
    labels = result.labels
    if tracklets is not None:
        # A tracklet lies under one camera: alone it is no cluster where several cameras are wanted.
        labels = link_tracklets(labels, tracklets, new_clusters=config.min_cameras == 1)
    return PseudoLabels(labels, result.note, result.eps, result.silhouette, result.num_dropped, recall)


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


def _named(images: np.ndarray) -> str:
    numbers = ", ".join(str(image) for image in images[:_IMAGES_NAMED])
    more = f" and {len(images) - _IMAGES_NAMED} more" if len(images) > _IMAGES_NAMED else ""
    return f"image{'s' if len(images) > 1 else ''} {numbers}{more}"


def _exact(features: np.ndarray, workers: Workers, config: ClusterConfig) -> tuple[np.ndarray, None]:
    token = uuid.uuid4().hex
    tasks = [(start, stop, config.k1, token, config.search_with) for start, stop in _blocks(len(features), _BLOCK)]
    blocks = workers.map("search", tasks, shared=features, on_result=_SearchLog(len(features), _BLOCK))
    return np.concatenate([indices for indices, _ in blocks]), None  # (N, k1)


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
    blocks = workers.map("search_lists", tasks, shared=features, on_result=_SearchLog(num_images, _BLOCK_OF_LISTS))
    return np.concatenate([indices for indices, _ in blocks]), recall  # (N, k1)


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


def cluster_epoch(
    features: Tensor,
    images: TrainingImages,
    context: TrainContext,
    config: ClusterConfig,
    *,
    previous: Tensor | None,
    pictures_in: Path | None,
) -> tuple[Tensor, dict[str, float]]:
    """Cluster the training images for an epoch on rank 0, in the workers' processes, and tell every rank.

    Args:
        features: L2-normalised, on the CPU, shape (N, D).
        images: N images.
        context: Of the training loop; it has workers.
        config: Clustering settings.
        previous: Labels of the epoch before, shape (N,), or None.
        pictures_in: Folder of the stage where rank 0 is to draw what came out, else None.

    Returns:
        Labels on the CPU, shape (N,), and what is logged of them: all of it on rank 0, counts elsewhere.
    """
    labels = torch.empty(len(features), dtype=torch.long)
    if context.rank == 0:
        assert context.workers is not None, "clustering needs FAISS workers"
        cameras = None if images.cameras is None else images.cameras.numpy()
        tracklets = None if images.view.tracklets is None else np.array(images.view.tracklets)
        result = pseudo_labels(features.numpy(), context.workers, config, cameras=cameras, tracklets=tracklets)
        labels = torch.from_numpy(result.labels).long()
        if pictures_in is not None:
            write_cluster_pictures(
                features.numpy(), result.labels, lambda index: images.pixels[index], pictures_in, context.tracker
            )
    labels = broadcast(labels.to(context.device)).cpu()
    if context.rank != 0:
        result = PseudoLabels(labels.numpy())
    return labels, cluster_numbers(result, None if previous is None else previous.numpy())


def cluster_numbers(result: PseudoLabels, previous: np.ndarray | None = None) -> dict[str, float]:
    """Return what is logged of a clustering, by name.

    Args:
        result: The clustering.
        previous: Labels of the clustering before, (N,), or None.

    Returns:
        Counts; ``silhouette`` of the clustered images, and ``silhouette_all``, in which an outlier counts 0, so that
        leaving images out earns nothing; ``neighbour_recall`` where the search was approximate; and, where there was a
        clustering before, ``agreement_previous`` and ``agreement_previous_nmi``, how far the labels are the same, and
        ``clustered_agreement``, the first of them times the share of images in a cluster. None looks at any truth.
    """
    sizes = np.bincount(result.labels[result.labels >= 0])
    share = float((result.labels >= 0).mean())
    numbers: dict[str, float] = {
        "num_clusters": result.num_clusters,
        "num_outliers": result.num_outliers,
        "num_dropped": result.num_dropped,
        "largest_cluster": int(sizes.max(initial=0)),
        "median_cluster": float(np.median(sizes)) if len(sizes) else 0.0,
        "silhouette": result.silhouette,
        "silhouette_all": result.silhouette * share,
    }
    if result.recall is not None:
        numbers["neighbour_recall"] = result.recall
    if previous is not None:
        agreed = agreement_of_labels(result.labels, previous)
        numbers |= {
            "agreement_previous": agreed.ari,
            "agreement_previous_nmi": agreed.nmi,
            "clustered_agreement": agreed.ari * share,
        }
    return numbers
