"""Cameras in unsupervised learning: features without a camera's mean, and one proxy a cluster and camera.

Letters: N images, J proxies, D embedding.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.learning.prototypes import cluster_means


def centre_cameras(features: Tensor, cameras: Tensor) -> Tensor:
    """Take each camera's mean feature away, so that neighbours are people and not views of the same camera.

    Cameras differ in colour and background, and pre-trained features say so louder than they say who is seen. The mean
    over a camera's images holds what they have in common, as long as each camera sees about the same people.

    Args:
        features: L2-normalised, shape (N, D).
        cameras: Camera of each image, shape (N,).

    Returns:
        L2-normalised, shape (N, D).
    """
    centred = torch.empty_like(features)
    for camera in torch.unique(cameras).tolist():
        mine = cameras == camera
        centred[mine] = features[mine] - features[mine].mean(dim=0)
    return F.normalize(centred, dim=1)


class ProxyLayout(NamedTuple):
    """Which clusters were seen by which cameras.

    Attributes:
        of_image: Proxy of each image, -1 for an outlier, shape (N,).
        cluster: Cluster of each proxy, shape (J,).
        camera: Camera of each proxy, shape (J,).
    """

    of_image: Tensor
    cluster: Tensor
    camera: Tensor


def lay_out_proxies(labels: Tensor, cameras: Tensor) -> ProxyLayout:
    """Number the pairs of cluster and camera that occur, by cluster and then by camera.

    Args:
        labels: Cluster of each image, -1 for an outlier, shape (N,).
        cameras: Camera of each image, from 0, shape (N,).

    Returns:
        The layout; at least one image is no outlier.
    """
    assert labels.shape == cameras.shape, (labels.shape, cameras.shape)
    inside = labels >= 0
    num_cameras = int(cameras.max()) + 1
    pairs, numbers = torch.unique(labels[inside] * num_cameras + cameras[inside], return_inverse=True)
    of_image = torch.full_like(labels, -1)
    of_image[inside] = numbers
    return ProxyLayout(of_image, pairs // num_cameras, pairs % num_cameras)


def proxy_means(features: Tensor, layout: ProxyLayout) -> Tensor:
    """Average the features (N, D) of each proxy's images; L2-normalised, shape (J, D)."""
    return cluster_means(features, layout.of_image)
