"""How far pseudo labels agree with the truth, or with other pseudo labels: for logging only."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from reid_core.clustering.reliability import partition


class Agreement(NamedTuple):
    """Agreement of two partitions.

    Attributes:
        ari: Adjusted Rand index; 1 is perfect, 0 is chance.
        nmi: Normalised mutual information in [0, 1].
        purity: Share of the clustered images whose person is the most frequent one of their cluster; 1 is perfect.
    """

    ari: float
    nmi: float
    purity: float


def agreement(labels: np.ndarray, people: np.ndarray) -> Agreement:
    """Compare pseudo labels with people over all images.

    Every outlier counts as a cluster of its own: leaving outliers out would reward a clustering that drops whatever
    is difficult, and counting them as one cluster would join strangers.

    Args:
        labels: Cluster from 0, or -1 for an outlier, (N,).
        people: Person of each image, (N,).

    Returns:
        All measures. Purity leaves outliers out, so it has to be read beside their number.
    """
    return _compare(labels, people)


def agreement_of_labels(labels: np.ndarray, others: np.ndarray) -> Agreement:
    """Compare two sets of pseudo labels, (N,) each, with outliers as clusters of their own on both sides."""
    return _compare(labels, partition(others))


def _compare(labels: np.ndarray, expected: np.ndarray) -> Agreement:
    assert labels.shape == expected.shape, (labels.shape, expected.shape)
    own = partition(labels)
    return Agreement(
        float(adjusted_rand_score(expected, own)),
        float(normalized_mutual_info_score(expected, own)),
        _purity(labels, expected),
    )


def _purity(labels: np.ndarray, expected: np.ndarray) -> float:
    clustered = labels >= 0
    if not clustered.any():
        return 1.0
    pairs, counts = np.unique(np.stack([labels[clustered], expected[clustered]]), axis=1, return_counts=True)
    most = np.zeros(labels.max() + 1)
    np.maximum.at(most, pairs[0], counts)
    return float(most.sum() / clustered.sum())
