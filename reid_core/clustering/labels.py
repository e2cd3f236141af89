"""From features and neighbour lists to pseudo labels, with a defined answer when there are fewer than two clusters.

N: images.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from reid_core.clustering.k_reciprocal import SparseRows, jaccard_graph
from reid_core.clustering.leiden import leiden, number_by_first
from reid_core.clustering.reliability import reliable_images, silhouette
from reid_core.clustering.settings import LabelSettings

_STEP = 0.05  # of eps, where another one is tried
_WIDEST = 0.95  # the largest eps that is tried


class Labelling(NamedTuple):
    """Pseudo labels of one clustering.

    Attributes:
        labels: Cluster from 0, or -1 for an outlier, (N,) int64.
        eps: The distance that was used in the end.
        note: Sentence for the log when the fallback was needed, else empty.
        silhouette: Mean Jaccard silhouette of the clustered images, without any identity, in [-1, 1].
        num_dropped: Images that were clustered, but made outliers by a constraint.
    """

    labels: np.ndarray
    eps: float
    note: str
    silhouette: float = 0.0
    num_dropped: int = 0


def label_images(
    features: np.ndarray,
    neighbours: np.ndarray,
    settings: LabelSettings,
    *,
    cameras: np.ndarray | None = None,
    num_threads: int = 1,
) -> Labelling:
    """Cluster images by the Jaccard distance.

    Contrast needs two clusters. When there is none, ``eps`` grows by 0.05 until there are two (at most 0.95); when
    there is one, ``eps`` shrinks by 0.05 until there are two; when neither helps, every image is its own class.
    Constraints that would leave fewer than two clusters are left out, and the note says so.

    Args:
        features: L2-normalised features, (N, D) float32.
        neighbours: Neighbour lists, the image itself first, (N, at least min(k1, N)) int32.
        settings: All settings.
        cameras: Camera of each image, (N,); wanted by ``min_cameras`` only.
        num_threads: Threads that compute distances.

    Returns:
        At least two clusters where N is at least 2.
    """
    eps = settings.eps
    if len(features) > 1 and (features == features[0]).all():  # every pair would be near: N x N of them
        note = "all images at the same place: each image is its own class in this epoch"
        return Labelling(np.arange(len(features), dtype=np.int64), eps, note)
    # Reliability looks beyond eps; the graph that holds more pairs gives the same clusters at eps.
    reach = _loosened(settings) if settings.reliable_only else eps
    graph_up_to = partial(jaccard_graph, features, neighbours, k1=settings.k1, k2=settings.k2, num_threads=num_threads)
    graph = graph_up_to(eps=reach)
    labels = _group(graph, eps, settings)
    num_clusters = int(labels.max()) + 1
    if num_clusters >= 2:
        meets = _meets_constraints(graph, labels, settings, cameras)
        constrained = number_by_first(labels, meets) if not meets.all() else labels
        if constrained.max() < 1:
            note = f"{num_clusters} clusters, but fewer than two meet the constraints: they were left out this time"
            return Labelling(labels, eps, note, silhouette(graph, labels, eps=eps))
        dropped = int(((labels >= 0) & ~meets).sum())
        return Labelling(constrained, eps, "", silhouette(graph, constrained, eps=eps), dropped)

    if num_clusters == 0:
        graph = graph_up_to(eps=max(eps, _WIDEST))
        candidates = np.arange(eps + _STEP, _WIDEST + 1e-9, _STEP)
    else:
        candidates = np.arange(eps - _STEP, 0, -_STEP)
    asked = f"{'no cluster' if num_clusters == 0 else 'one cluster'} at eps {eps:g}"
    for candidate in candidates:
        labels = _group(graph, float(candidate), settings)
        if labels.max() >= 1:
            note = f"{asked}: eps {candidate:.2f} was used instead ({labels.max() + 1} clusters)"
            eps = float(candidate)
            return Labelling(labels, eps, note, silhouette(graph, labels, eps=eps))
    note = f"{asked} and fewer than two at every other eps: each image is its own class in this epoch"
    return Labelling(np.arange(len(features), dtype=np.int64), eps, note)


def _group(graph: SparseRows, eps: float, settings: LabelSettings) -> np.ndarray:
    if settings.algorithm == "leiden":
        return leiden(graph, eps=eps, min_samples=settings.min_samples, resolution=settings.resolution)
    return dbscan(graph, eps=eps, min_samples=settings.min_samples)


def _meets_constraints(
    graph: SparseRows, labels: np.ndarray, settings: LabelSettings, cameras: np.ndarray | None
) -> np.ndarray:
    """Tell which clustered images meet the constraints, (N,) bool."""
    trusted = labels >= 0
    if settings.reliable_only:
        loosened = _group(graph, _loosened(settings), settings)
        tightened = _group(graph, max(settings.eps - settings.reliability_step, 0.0), settings)
        trusted = reliable_images(labels, loosened, tightened, min_independence=settings.min_independence)
    sizes = np.bincount(labels[trusted], minlength=labels.max() + 1)
    big = sizes >= settings.min_cluster_size
    if settings.min_cameras > 1:
        assert cameras is not None, "min_cameras wants the camera of each image"
        pairs = np.unique(np.stack([labels[trusted], cameras[trusted]]), axis=1)
        big &= np.bincount(pairs[0], minlength=len(big)) >= settings.min_cameras
    constrained: np.ndarray = trusted & big[labels]
    return constrained


def _loosened(settings: LabelSettings) -> float:
    return max(settings.eps, min(settings.eps + settings.reliability_step, _WIDEST))


def dbscan(graph: SparseRows, *, eps: float, min_samples: int) -> np.ndarray:
    """Return the clusters of DBSCAN (Ester et al., KDD 1996), numbered in the order of their first core image.

    The labels are scikit-learn's.

    Args:
        graph: Distances of pairs, symmetric, with every image at distance 0 from itself.
        eps: Largest distance of neighbours; the graph holds all pairs up to it.
        min_samples: Neighbours, itself included, that make a core image.

    Returns:
        Cluster from 0, or -1 for an outlier, (N,) int64. An image that is no core image and lies beside several
        clusters joins the first of them, as in scikit-learn.
    """
    num_images = len(graph.indptr) - 1
    rows = np.repeat(np.arange(num_images), np.diff(graph.indptr))
    near = graph.values <= eps
    rows, columns = rows[near], graph.indices[near]
    core = np.bincount(rows, minlength=num_images) >= min_samples
    labels = np.full(num_images, -1, dtype=np.int64)
    if not core.any():
        return labels

    linked = core[rows] & core[columns]
    links = csr_array((np.ones(linked.sum(), dtype=np.int8), (rows[linked], columns[linked])), shape=(num_images,) * 2)
    component = connected_components(links, directed=False)[1][core]
    first, number = np.unique(component, return_index=True, return_inverse=True)[1:]
    labels[core] = np.argsort(np.argsort(first))[number]

    beside = ~core[rows] & core[columns]
    border = np.full(num_images, num_images, dtype=np.int64)
    np.minimum.at(border, rows[beside], labels[columns[beside]])
    return np.where(~core & (border < num_images), border, labels)
