"""DBSCAN (Ester et al., KDD 1996) on a sparse neighbourhood graph, with scikit-learn's labels."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from reid_core.clustering.sparse import SparseRows


def dbscan(graph: SparseRows, *, eps: float, min_samples: int) -> np.ndarray:
    """Return the cluster of every image, numbered in the order of their first core image.

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
