"""The feature memory: what the encoder last said about every training image.

Letters: N training images, B batch, D embedding.

Cluster prototypes: means of a memory's rows, and the momentum prototypes of Cluster Contrast.

Letters: N images, K clusters, B batch, D embedding.

Cameras in unsupervised learning: features without a camera's mean, and one proxy a cluster and camera.

Letters: N images, J proxies, D embedding.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class FeatureMemory:
    """One L2-normalised row a training image.

    Attributes:
        rows: Shape (N, D).
        momentum: Share of the old row that stays at an update.
    """

    def __init__(self, rows: Tensor, *, momentum: float = 0.2) -> None:
        assert 0 <= momentum < 1, momentum
        self.rows = F.normalize(rows.detach().clone(), dim=1)
        self.momentum = momentum

    def state_dict(self) -> dict[str, Tensor]:
        """Return the rows, for a checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what ``state_dict`` returned, on the device of the rows as they are."""
        self.rows = state["rows"].to(self.rows.device)

    def update(self, index: Tensor, features: Tensor) -> None:
        """Move rows towards new features: M_i <- normalise(m M_i + (1 - m) f(x_i)).

        Called after the optimiser step, never inside a loss.

        Args:
            index: Rows, each at most once, shape (B,).
            features: L2-normalised features, shape (B, D).
        """
        mixed = self.momentum * self.rows[index] + (1 - self.momentum) * features.detach()
        self.rows[index] = F.normalize(mixed, dim=1)


PrototypeUpdate = Literal["hardest", "mean"]


def cluster_means(rows: Tensor, labels: Tensor) -> Tensor:
    """Average the rows of every cluster.

    Args:
        rows: L2-normalised, shape (N, D).
        labels: Cluster of each row, -1 for an outlier; clusters are 0..K-1, none empty. Shape (N,).

    Returns:
        L2-normalised prototypes, shape (K, D).
    """
    inside = labels >= 0
    num_clusters = int(labels.max()) + 1
    sums = torch.zeros(num_clusters, rows.shape[1], dtype=rows.dtype, device=rows.device)
    sums.index_add_(0, labels[inside], rows[inside])
    return F.normalize(sums, dim=1)


class MomentumPrototypes:
    """One L2-normalised row a cluster, moved by every batch (Cluster Contrast, arXiv 2103.11568, section 3.3).

    Attributes:
        rows: Shape (K, D).
        momentum: Share of the old row that stays at an update.
        update_by: ``hardest``: by the batch's instance that is least similar to its prototype; ``mean``: by the mean.
    """

    def __init__(self, rows: Tensor, *, momentum: float = 0.1, update_by: PrototypeUpdate = "hardest") -> None:
        assert 0 <= momentum < 1, momentum
        self.rows = rows.detach().clone()
        self.momentum = momentum
        self.update_by = update_by

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Move the prototypes of the clusters in a batch, after the optimiser step.

        Args:
            features: L2-normalised, shape (B, D).
            labels: Cluster of each feature, shape (B,).
        """
        features = features.detach()
        for label in torch.unique(labels).tolist():
            members = features[labels == label]
            if self.update_by == "hardest":
                target = members[(members @ self.rows[label]).argmin()]
            else:
                target = members.mean(dim=0)
            mixed = self.momentum * self.rows[label] + (1 - self.momentum) * target
            self.rows[label] = F.normalize(mixed, dim=0)


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
