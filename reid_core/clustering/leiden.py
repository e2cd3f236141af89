"""Leiden communities (Traag et al., Scientific Reports 2019) of the graph of near images; imports scikit-network."""

import numpy as np
from scipy.sparse import csr_matrix

from reid_core.clustering.k_reciprocal import SparseRows

_TOLERANCE = 1e-6  # least gain of modularity for another round; the library's own stops early on large graphs


def leiden(graph: SparseRows, *, eps: float, min_samples: int, resolution: float = 1.0) -> np.ndarray:
    """Return the community of every image, numbered in the order of their first image.

    Images at distance d <= ``eps`` are linked with weight 1 - d; modularity is maximised from a fixed seed, so that the
    same graph always gives the same labels. Unlike DBSCAN, one image between two people does not join them.

    Args:
        graph: Distances of pairs, symmetric, with every image at distance 0 from itself.
        eps: Largest distance of linked images; the graph holds all pairs up to it.
        min_samples: Communities of fewer images are outliers.
        resolution: Above 1 gives smaller communities, below 1 larger ones.

    Returns:
        Cluster from 0, or -1 for an outlier, (N,) int64.
    """
    num_images = len(graph.indptr) - 1
    rows = np.repeat(np.arange(num_images), np.diff(graph.indptr))
    linked = (graph.values <= eps) & (rows != graph.indices)
    if not linked.any():
        return number_by_first(np.arange(num_images), np.full(num_images, min_samples <= 1))
    from sknetwork.clustering import Leiden

    weights = 1.0 - graph.values[linked].astype(np.float64)
    links = csr_matrix((weights, (rows[linked], graph.indices[linked])), shape=(num_images, num_images))
    search = Leiden(resolution=resolution, tol_optimization=_TOLERANCE, tol_aggregation=_TOLERANCE, random_state=0)
    community = search.fit_predict(links)
    return number_by_first(community, np.bincount(community)[community] >= min_samples)


def number_by_first(groups: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Number groups from 0 in the order of their first kept image.

    Args:
        groups: Group of each image, (N,) int.
        kept: False where an image is an outlier, (N,) bool.

    Returns:
        Labels, -1 for outliers, (N,) int64.
    """
    labels = np.full(len(groups), -1, dtype=np.int64)
    _, first, number = np.unique(groups[kept], return_index=True, return_inverse=True)
    labels[kept] = np.argsort(np.argsort(first))[number]
    return labels
