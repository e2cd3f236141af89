"""From features and neighbour lists to pseudo labels, with a defined answer when there are fewer than two clusters."""

from typing import NamedTuple

import numpy as np

from reid_core.clustering.dbscan import dbscan
from reid_core.clustering.jaccard import jaccard_graph

_STEP = 0.05
_WIDEST = 0.95


class Labelling(NamedTuple):
    """Pseudo labels of one clustering.

    Attributes:
        labels: Cluster from 0, or -1 for an outlier, (N,) int64.
        eps: The distance that was used in the end.
        note: Sentence for the log when the fallback was needed, else empty.
    """

    labels: np.ndarray
    eps: float
    note: str


def label_images(
    features: np.ndarray, neighbours: np.ndarray, *, k1: int, k2: int, eps: float, min_samples: int
) -> Labelling:
    """Cluster images by the Jaccard distance and DBSCAN.

    Contrast needs two clusters. When DBSCAN finds none, ``eps`` grows by 0.05 until there are two (at most 0.95);
    when it finds one, ``eps`` shrinks by 0.05 until there are two; when neither helps, every image is its own class.

    Args:
        features: L2-normalised features, (N, D) float32.
        neighbours: Neighbour lists, the image itself first, (N, at least min(k1, N)) int32.
        k1: Length of the reciprocal lists.
        k2: Neighbours whose weights are averaged.
        eps: Largest Jaccard distance of neighbours, in [0, 1).
        min_samples: Neighbours, itself included, that make a core image.

    Returns:
        At least two clusters where N is at least 2.
    """
    graph = jaccard_graph(features, neighbours, k1=k1, k2=k2, eps=eps)
    labels = dbscan(graph, eps=eps, min_samples=min_samples)
    found = int(labels.max()) + 1
    if found >= 2:
        return Labelling(labels, eps, "")

    if found == 0:
        graph = jaccard_graph(features, neighbours, k1=k1, k2=k2, eps=max(eps, _WIDEST))
        candidates = np.arange(eps + _STEP, _WIDEST + 1e-9, _STEP)
    else:
        candidates = np.arange(eps - _STEP, 0, -_STEP)
    asked = f"{'no cluster' if found == 0 else 'one cluster'} at eps {eps:g}"
    for candidate in candidates:
        labels = dbscan(graph, eps=float(candidate), min_samples=min_samples)
        if labels.max() >= 1:
            note = f"{asked}: eps {candidate:.2f} was used instead ({labels.max() + 1} clusters)"
            return Labelling(labels, float(candidate), note)
    note = f"{asked} and fewer than two at every other eps: each image is its own class in this epoch"
    return Labelling(np.arange(len(features), dtype=np.int64), eps, note)
