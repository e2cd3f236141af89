"""Which pseudo labels to trust: self-paced reliability (SpCL, Ge et al., NeurIPS 2020, section 3.3)."""

import numpy as np


def overlap(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return |A(i) & B(i)| / |A(i) | B(i)| of the two clusters that hold each image.

    Args:
        labels: Cluster from 0, or -1 for an outlier, which is a cluster of its own, (N,).
        others: The same of another clustering, (N,).

    Returns:
        Overlap in (0, 1], (N,) float64.
    """
    one, other = _partition(labels), _partition(others)
    pairs = one * (other.max(initial=0) + 1) + other
    _, number, shared = np.unique(pairs, return_inverse=True, return_counts=True)
    both = shared[number]
    result: np.ndarray = both / (np.bincount(one)[one] + np.bincount(other)[other] - both)
    return result


def reliable_images(
    labels: np.ndarray, loosened: np.ndarray, tightened: np.ndarray, *, min_independence: float
) -> np.ndarray:
    """Tell which clustered images to trust.

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


def _partition(labels: np.ndarray) -> np.ndarray:
    """Make every outlier a cluster of its own."""
    outlier = labels < 0
    partition = labels.astype(np.int64)
    partition[outlier] = labels.max(initial=-1) + 1 + np.arange(outlier.sum())
    return partition
