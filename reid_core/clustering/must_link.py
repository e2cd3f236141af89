"""Images that are known to show one person, such as those of one tracklet, in one cluster.

N: images.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def link_tracklets(labels: np.ndarray, tracklets: np.ndarray, *, new_clusters: bool = True) -> np.ndarray:
    """Give all images of a tracklet one cluster.

    Clusters that share a tracklet become one, and outliers join the cluster of their tracklet.

    Args:
        labels: Cluster from 0, or -1 for an outlier, (N,).
        tracklets: Images of one number from 0 show one person; -1 where nothing is known, (N,).
        new_clusters: Whether a tracklet of two or more outliers becomes a cluster.

    Returns:
        Clusters from 0 in the order of their first image, or -1, (N,) int64.
    """
    assert labels.shape == tracklets.shape, (labels.shape, tracklets.shape)
    num_images = len(labels)
    # Nodes: images, then clusters, then tracklets. An image is linked with its cluster and with its tracklet.
    num_clusters = int(labels.max(initial=-1)) + 1
    _, tracklet = np.unique(tracklets, return_inverse=True)
    clustered, tracked = np.flatnonzero(labels >= 0), np.flatnonzero(tracklets >= 0)
    images = np.concatenate([clustered, tracked])
    others = num_images + np.concatenate([labels[clustered], num_clusters + tracklet[tracked]])
    size = num_images + num_clusters + int(tracklet.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(images), dtype=bool), (images, others)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    component = component[:num_images]
    # A cluster stays one, however few images it has; of outliers alone, two make one.
    wanted = np.bincount(component, minlength=size) >= 2 if new_clusters else np.zeros(size, dtype=bool)
    wanted[component[labels >= 0]] = True
    alone = ~wanted[component]
    _, first, members = np.unique(component[~alone], return_index=True, return_inverse=True)
    linked = np.full(num_images, -1, dtype=np.int64)
    linked[~alone] = np.argsort(np.argsort(first))[members]
    return linked
