"""Quality of pseudo labels without any identity: self-paced reliability (SpCL) and the silhouette.

N: images.
"""

import numpy as np
from scipy.sparse import csr_array

from reid_core.clustering.k_reciprocal import SparseRows


def overlap(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return |A(i) & B(i)| / |A(i) | B(i)| of the two clusters that hold each image.

    Args:
        labels: Cluster from 0, or -1 for an outlier, which is a cluster of its own, (N,).
        others: The same of another clustering, (N,).

    Returns:
        Overlap in (0, 1], (N,) float64.
    """
    one, other = partition(labels), partition(others)
    pairs = one * (other.max(initial=0) + 1) + other
    _, number, shared = np.unique(pairs, return_inverse=True, return_counts=True)
    both = shared[number]
    result: np.ndarray = both / (np.bincount(one)[one] + np.bincount(other)[other] - both)
    return result


def reliable_images(
    labels: np.ndarray, loosened: np.ndarray, tightened: np.ndarray, *, min_independence: float
) -> np.ndarray:
    """Tell which clustered images to trust (SpCL, Ge et al., NeurIPS 2020, section 3.3).

    A cluster is *independent* when it stays apart as eps grows: the overlap of its images with their clusters at the
    loosened eps (the best of its images) is at least ``min_independence``. An image is *compact* when it stays with the
    core of its cluster as eps shrinks: its overlap with its cluster at the tightened eps is the best of its cluster.

    The threshold is fixed, so learning paces itself: as features improve, more clusters pass. (SpCL takes the threshold
    from the first epoch's clusters, which makes a resumed training depend on its first.)

    Args:
        labels: Cluster from 0, or -1 for an outlier, (N,).
        loosened: Labels at the larger eps, (N,).
        tightened: Labels at the smaller eps, (N,).
        min_independence: In [0, 1].

    Returns:
        True where a clustered image is reliable, (N,) bool; False for outliers.
    """
    clustered = labels >= 0
    if not clustered.any():
        return clustered
    independence = _best_of_cluster(overlap(labels, loosened), labels)
    compactness = overlap(labels, tightened)
    # Overlaps of one cluster are ratios of the same whole numbers: equal ones are equal to the bit.
    compact = compactness >= _best_of_cluster(compactness, labels)
    return clustered & (independence >= min_independence) & compact


def _best_of_cluster(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    clustered = labels >= 0
    best = np.zeros(labels.max() + 1)
    np.maximum.at(best, labels[clustered], scores[clustered])
    return np.where(clustered, best[labels], 0.0)


def partition(labels: np.ndarray) -> np.ndarray:
    """Return labels (N,) int64 in which every outlier (-1) is a cluster of its own."""
    outlier = labels < 0
    result = labels.astype(np.int64)
    result[outlier] = labels.max(initial=-1) + 1 + np.arange(outlier.sum())
    return result


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
