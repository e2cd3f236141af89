"""How well clusters stand apart, without any identity."""

import numpy as np
from scipy.sparse import csr_array

from reid_core.clustering.sparse import SparseRows


def silhouette(graph: SparseRows, labels: np.ndarray, *, eps: float) -> float:
    """Return the mean silhouette (Rousseeuw, 1987) of the clustered images, from the pairs of a sparse graph.

    Of an image, a is the mean distance to the others of its cluster, b the smallest mean distance to another cluster;
    its silhouette is (b - a) / max(a, b), 0 in a cluster of one. Pairs beyond ``eps`` count as distance 1, which is
    what most of them have: no dense matrix is needed. Outliers are left out, on both sides.

    Args:
        graph: Distances of near pairs, symmetric, with every image at distance 0 from itself.
        labels: Cluster from 0, or -1 for an outlier, (N,).
        eps: Largest distance that counts; the graph holds all pairs up to it.

    Returns:
        In [-1, 1]; 0 when there are fewer than two clusters.
    """
    num_clusters = int(labels.max(initial=-1)) + 1
    if num_clusters < 2:
        return 0.0
    inlier = np.flatnonzero(labels >= 0)
    sizes = np.bincount(labels[inlier])
    one_hot = csr_array((np.ones(len(inlier)), (inlier, labels[inlier])), shape=(len(labels), num_clusters))
    near = np.where(graph.values <= eps, 1.0 - graph.values.astype(np.float64), 0.0)
    nearness = csr_array((near, graph.indices, graph.indptr), shape=(len(labels),) * 2)
    sums = csr_array(nearness[inlier] @ one_hot)  # (inliers, clusters): sum of 1 - distance

    rows = np.repeat(np.arange(len(inlier)), np.diff(sums.indptr))
    own = sums.indices == labels[inlier][rows]
    own_sums = np.zeros(len(inlier))
    own_sums[rows[own]] = sums.data[own] - 1.0  # without the image itself
    inner = 1.0 - own_sums / np.maximum(sizes[labels[inlier]] - 1, 1)
    nearest = np.zeros(len(inlier))
    np.maximum.at(nearest, rows[~own], sums.data[~own] / sizes[sums.indices[~own]])
    outer = 1.0 - nearest
    scores = (outer - inner) / np.maximum(np.maximum(outer, inner), 1e-12)
    return float(np.where(sizes[labels[inlier]] > 1, scores, 0.0).mean())
