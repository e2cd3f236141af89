import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from reid_core.clustering.k_reciprocal import jaccard_graph
from reid_core.clustering.reliability import silhouette
from tests.reid_core.clustering.cases import random_features, slow_neighbours
from tests.reid_core.clustering.test_dbscan import sparse
from tests.reid_core.clustering.test_jaccard import dense


def test_two_pairs_by_hand() -> None:
    # Within a pair 0.2, between the pairs 0.5 where the graph knows it (images 1 and 2 only), else 1.
    distance = np.array([[0, 0.2, 1, 1], [0.2, 0, 0.5, 1], [1, 0.5, 0, 0.2], [1, 1, 0.2, 0]])
    # Image 0: a = 0.2, b = 1: 0.8. Image 1: b = (0.5 + 1) / 2 = 0.75: 0.55 / 0.75.
    expected = (0.8 + 0.55 / 0.75) / 2
    assert silhouette(sparse(distance, 0.9), np.array([0, 0, 1, 1]), eps=0.9) == pytest.approx(expected, abs=1e-6)
    assert silhouette(sparse(distance, 0.9), np.array([0, 0, 1, 1]), eps=0.3) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_equals_scikit_learn_on_the_cut_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = random_features(rng, 60)
    graph = jaccard_graph(features, slow_neighbours(features, 12), k1=12, k2=3, eps=0.7)
    labels = rng.integers(-1, 6, size=60)
    inlier = labels >= 0
    distance = dense(graph)[inlier][:, inlier]
    np.fill_diagonal(distance, 0)
    expected = silhouette_score(distance, labels[inlier], metric="precomputed")
    assert silhouette(graph, labels, eps=0.7) == pytest.approx(expected, abs=1e-6)


def test_fewer_than_two_clusters_have_none() -> None:
    graph = sparse(np.zeros((3, 3)), 0.5)
    assert silhouette(graph, np.array([0, 0, -1]), eps=0.5) == 0
    assert silhouette(graph, np.array([-1, -1, -1]), eps=0.5) == 0
