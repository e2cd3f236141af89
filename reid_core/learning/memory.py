"""Feature memory, cluster prototypes, the targets of an epoch, and the draws of positives and negatives.

Letters: N training images, K clusters, J proxies (one a cluster and camera), B batch, D embedding.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PrototypeUpdate = Literal["hardest", "mean"]


class FeatureMemory:
    """One L2-normalised feature a training image: what the encoder last said about it.

    Attributes:
        features: Shape (N, D); changed in place by ``update``.
        momentum: Share of the old feature that stays at an update.
    """

    def __init__(self, features: Tensor, *, momentum: float = 0.2) -> None:
        assert 0 <= momentum < 1, momentum
        self.features = F.normalize(features.detach().clone(), dim=1)
        self.momentum = momentum

    def state_dict(self) -> dict[str, Tensor]:
        """Return the features, for a checkpoint."""
        return {"features": self.features}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what ``state_dict`` returned, on the device of the features as they are."""
        self.features = state["features"].to(self.features.device)

    def update(self, indices: Tensor, features: Tensor, *, skip: Tensor | None = None) -> None:
        """Move features towards new ones: M_i <- normalise(m M_i + (1 - m) f(x_i)).

        Called after the optimiser step, never inside a loss.

        Args:
            indices: Places in the memory, each at most once, shape (B,).
            features: L2-normalised features, shape (B, D).
            skip: True to leave everything as it is, a scalar on the features' device: no host has to wait for it.
        """
        old = self.features[indices]  # (B, D)
        mixed = self.momentum * old + (1 - self.momentum) * features.detach()
        new = F.normalize(mixed, dim=1)
        self.features[indices] = new if skip is None else torch.where(skip, old, new)


class EpochTargets(NamedTuple):
    """Pseudo labels of the memory and what follows from them, constant during an epoch.

    Attributes:
        labels: Pseudo label of every training image, -1 for an outlier, shape (N,).
        prototypes: L2-normalised, shape (K, D).
        cameras: Camera of every training image, shape (N,), or None to use none.
    """

    labels: Tensor
    prototypes: Tensor
    cameras: Tensor | None


def draw_positives(
    labels: Tensor, indices: Tensor, *, generator: torch.Generator, cameras: Tensor | None = None
) -> Tensor:
    """Draw another image of the same cluster for every query; itself when the cluster has no other.

    Args:
        labels: Pseudo label of every training image, -1 for an outlier, shape (N,).
        indices: Place of every query in the memory, shape (B,).
        generator: Source of randomness, on the CPU.
        cameras: Camera of every training image, shape (N,): other cameras are preferred. None uses no camera.

    Returns:
        One place in the memory a query, shape (B,).
    """
    allowed = (labels[None, :] == labels[indices][:, None]) & (labels[indices][:, None] >= 0)  # (B, N)
    allowed[torch.arange(len(indices), device=allowed.device), indices] = False
    # The largest of uniform numbers is a fair draw; 2 more for another camera puts those first.
    score = torch.rand(allowed.shape, generator=generator).to(allowed.device).masked_fill(~allowed, -1.0)
    if cameras is not None:
        score = score + (cameras[None, :] != cameras[indices][:, None]) * 2.0 * allowed
    best, place = score.max(dim=1)
    return torch.where(best >= 0, place, indices)


def draw_negatives(labels: Tensor, indices: Tensor, *, most: int, generator: torch.Generator) -> Tensor:
    """Choose the negatives of every query among the images of other clusters; outliers are left out.

    Args:
        labels: Pseudo label of every training image, -1 for an outlier, shape (N,).
        indices: Place of every query in the memory, shape (B,).
        most: The most negatives of one query; more are sampled down to it.
        generator: Source of randomness, on the CPU.

    Returns:
        True where a place of the memory is a negative, shape (B, N).
    """
    negatives = (labels[None, :] != labels[indices][:, None]) & (labels[None, :] >= 0)
    if labels.shape[0] <= most:
        return negatives
    score = torch.rand(negatives.shape, generator=generator).to(negatives.device).masked_fill(~negatives, -1.0)
    chosen = torch.zeros_like(negatives)
    chosen.scatter_(1, score.topk(most, dim=1).indices, True)
    return chosen & negatives


def cluster_means(features: Tensor, labels: Tensor) -> Tensor:
    """Average the features of every cluster.

    Args:
        features: L2-normalised, shape (N, D).
        labels: Cluster of each feature, -1 for an outlier; clusters are 0..K-1, none empty. Shape (N,).

    Returns:
        L2-normalised prototypes, shape (K, D).
    """
    inside = labels >= 0
    num_clusters = int(labels.max()) + 1
    sums = torch.zeros(num_clusters, features.shape[1], dtype=features.dtype, device=features.device)
    sums.index_add_(0, labels[inside], features[inside])
    return F.normalize(sums, dim=1)


class MomentumPrototypes:
    """One L2-normalised feature a cluster, moved by every batch (Cluster Contrast, arXiv 2103.11568, section 3.3).

    Attributes:
        features: Shape (K, D); changed in place by ``update``.
        momentum: Share of the old prototype that stays at an update.
        update_by: ``hardest``: by the batch's instance that is least similar to its prototype; ``mean``: by the mean.
    """

    def __init__(self, features: Tensor, *, momentum: float = 0.1, update_by: PrototypeUpdate = "hardest") -> None:
        assert 0 <= momentum < 1, momentum
        self.features = features.detach().clone()
        self.momentum = momentum
        self.update_by = update_by

    def update(self, features: Tensor, labels: Tensor, *, skip: Tensor | None = None) -> None:
        """Move the prototypes of the clusters in a batch, after the optimiser step.

        Args:
            features: L2-normalised, shape (B, D).
            labels: Cluster of each feature, shape (B,).
            skip: As for ``FeatureMemory.update``.
        """
        features = features.detach()
        old = self.features[labels]  # (B, D)
        same = labels[:, None] == labels[None, :]  # (B, B)
        # Every image of a cluster gets the same target, so that their writes agree and none has to be picked out.
        if self.update_by == "hardest":
            similarity = (features * old).sum(dim=1)  # (B,)
            target = features[similarity[None, :].masked_fill(~same, float("inf")).argmin(dim=1)]
        else:
            sums = torch.zeros_like(self.features).index_add_(0, labels, features)
            target = sums[labels] / same.sum(dim=1, keepdim=True)
        new = F.normalize(self.momentum * old + (1 - self.momentum) * target, dim=1)
        self.features[labels] = new if skip is None else torch.where(skip, old, new)


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
    """The clusters that each camera saw.

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
