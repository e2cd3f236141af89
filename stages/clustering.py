"""Pseudo labels for the stages: the settings, and the calls that spread the work over the clustering workers."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from infra.compute.protocol import Workers
from reid_core.errors import UserError
from stages.stage import StageConfig

_LOG = logging.getLogger(__name__)
_BLOCK = 2048  # images of one search task; fixed, so that the result does not depend on the number of workers


class ClusterConfig(StageConfig):
    """How training images become pseudo labels."""

    k1: int = Field(30, ge=1, le=1000, description="Length of the reciprocal neighbour lists, in images (paper).")
    k2: int = Field(6, ge=1, le=1000, description="Neighbours averaged in query expansion; 1 = off (paper).")
    eps: float = Field(0.55, gt=0, lt=1, description="Largest Jaccard distance of DBSCAN neighbours (paper).")
    min_samples: int = Field(4, ge=1, description="Images, itself included, that make a core image (paper).")
    num_workers: int = Field(1, ge=1, le=256, description="FAISS processes; the result does not depend on it (ours).")


class PseudoLabels(NamedTuple):
    """Outcome of one clustering.

    Attributes:
        labels: Cluster from 0, or -1 for an outlier, (N,) int64.
        num_clusters: Number of clusters.
        num_outliers: Number of images without a cluster.
        note: Sentence that explains the fallback when fewer than two clusters were found, else empty.
    """

    labels: np.ndarray
    num_clusters: int
    num_outliers: int
    note: str = ""


def pseudo_labels(
    features: np.ndarray, workers: Workers, *, k1: int, k2: int, eps: float, min_samples: int
) -> PseudoLabels:
    """Cluster images in the workers' processes.

    Args:
        features: L2-normalised features, (N, D) float32.
        workers: Pool of ``ClusterWorker``.
        k1: Length of the reciprocal neighbour lists.
        k2: Neighbours averaged in query expansion.
        eps: Largest Jaccard distance of DBSCAN neighbours.
        min_samples: Images that make a core image.

    Returns:
        Labels; the same for every number of workers.
    """
    assert features.ndim == 2, features.shape
    assert len(features), "no feature to cluster"
    features = np.ascontiguousarray(features, dtype=np.float32)
    if not np.isfinite(features).all():
        raise UserError(
            "the features to cluster hold NaN or infinity: training diverged; lower the learning rate of the stage"
        )
    starts = range(0, len(features), _BLOCK)
    tasks = [(start, min(start + _BLOCK, len(features)), k1) for start in starts]
    blocks = workers.map("search", tasks, shared=features)
    neighbours = np.concatenate([indices for indices, _ in blocks])
    [(labels, _, note)] = workers.map("label", [(neighbours, k1, k2, eps, min_samples)], shared=features)
    if note:
        _LOG.warning("clustering found %s", note)
    return PseudoLabels(labels, int(labels.max()) + 1, int((labels < 0).sum()), note)


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
