"""Contrast with proxies of clusters seen by one camera: within a camera, and from camera to camera.

A cluster's images from two cameras lie apart, because the camera is a strong signal in the features. One proxy for each
cluster and camera lets the first term ask only for what tells people apart under one camera, and the second pull a
person's images towards the same person under other cameras (camera-aware proxies, arXiv 2012.10674, section 3.3; ICE,
arXiv 2103.16364, and PPLR, arXiv 2203.14675, use the same idea).

Letters: B queries, J proxies, D embedding.
"""

import torch
from torch import Tensor


def within_camera_cross_entropy(
    query: Tensor, proxies: Tensor, proxy_camera: Tensor, proxy: Tensor, *, temperature: float
) -> Tensor:
    """Classify each query among the proxies of its own camera.

    Args:
        query: L2-normalised features, shape (B, D).
        proxies: L2-normalised, shape (J, D). Read, never written.
        proxy_camera: Camera of each proxy, shape (J,).
        proxy: Own proxy of each query: of its cluster and camera, shape (B,).
        temperature: Softmax temperature, above 0.

    Returns:
        Loss of every query, shape (B,); 0 for a query whose camera knows one cluster only.
    """
    assert temperature > 0, temperature
    logits = query @ proxies.T / temperature  # (B, J)
    elsewhere = proxy_camera[None, :] != proxy_camera[proxy][:, None]
    logits = logits.masked_fill(elsewhere, float("-inf"))
    return logits.logsumexp(dim=1) - logits.gather(1, proxy[:, None]).squeeze(1)


def across_camera_contrast(
    query: Tensor,
    proxies: Tensor,
    proxy_cluster: Tensor,
    proxy: Tensor,
    *,
    temperature: float,
    num_negatives: int,
) -> Tensor:
    """Match each query with the proxies of its cluster under other cameras, against the nearest other clusters.

    Args:
        query: L2-normalised features, shape (B, D).
        proxies: L2-normalised, shape (J, D). Read, never written.
        proxy_cluster: Cluster of each proxy, shape (J,); two proxies of a cluster have different cameras.
        proxy: Own proxy of each query, shape (B,).
        temperature: Softmax temperature, above 0.
        num_negatives: The nearest proxies of other clusters, of any camera, that count.

    Returns:
        Mean over the query's positives, shape (B,); 0 for a query whose cluster was seen by one camera only.
    """
    assert temperature > 0, temperature
    logits = query @ proxies.T / temperature  # (B, J)
    same_cluster = proxy_cluster[None, :] == proxy_cluster[proxy][:, None]
    positive = same_cluster.clone()
    positive[torch.arange(len(query), device=query.device), proxy] = False
    nearest = logits.masked_fill(same_cluster, float("-inf")).topk(min(num_negatives, logits.shape[1]), dim=1).values
    # All rows without a negative: a logsumexp over nothing but -inf has no gradient, so a finite floor stands in.
    against = nearest.clamp_min(-1e4).logsumexp(dim=1, keepdim=True)  # (B, 1)
    loss = torch.logaddexp(logits, against) - logits  # (B, J), right where positive
    count = positive.sum(dim=1)
    return torch.where(positive, loss, 0.0).sum(dim=1) / count.clamp_min(1)
