"""How far pseudo labels agree with the truth: for logging only."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score


class Agreement(NamedTuple):
    """Agreement of two partitions.

    Attributes:
        ari: Adjusted Rand index; 1 is perfect, 0 is chance.
        nmi: Normalised mutual information in [0, 1].
    """

    ari: float
    nmi: float


def agreement(labels: np.ndarray, people: np.ndarray) -> Agreement:
    """Compare pseudo labels with people over all images.

    Every outlier counts as a cluster of its own: leaving outliers out would reward a clustering that drops whatever
    is difficult, and counting them as one cluster would join strangers.

    Args:
        labels: Cluster from 0, or -1 for an outlier, (N,).
        people: Person of each image, (N,).

    Returns:
        Both measures.
    """
    assert labels.shape == people.shape, (labels.shape, people.shape)
    outlier = labels < 0
    partition = labels.astype(np.int64).copy()
    partition[outlier] = labels.max(initial=0) + 1 + np.arange(outlier.sum())
    return Agreement(
        float(adjusted_rand_score(people, partition)), float(normalized_mutual_info_score(people, partition))
    )
