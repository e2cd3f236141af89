"""One update of the identity warm-up (Cluster Contrast), with or without cameras.

Letters: B images, K clusters, J proxies, H x W pixels.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from reid_core.distributed import gather_batch
from reid_core.learning.memory import MomentumPrototypes, ProxyLayout
from reid_core.learning.update import Trained, Update, update, weighted_sum
from reid_core.losses.camera import across_camera_contrast, within_camera_cross_entropy
from reid_core.losses.contrastive import prototype_cross_entropy
from reid_core.models.identity import IdentityEncoder


@dataclass(frozen=True)
class CameraContrast:
    """Contrast with one proxy a cluster and camera.

    Attributes:
        proxies: J momentum proxies, moved in place by the batches of all ranks.
        layout: Cluster and camera of every proxy, on the proxies' device.
        weight: Of both camera terms.
        temperature: Softmax temperature of both camera terms.
        num_negatives: The nearest proxies of other clusters that count across cameras.
    """

    proxies: MomentumPrototypes
    layout: ProxyLayout
    weight: float
    temperature: float
    num_negatives: int


def identity_step(
    encoder: IdentityEncoder,
    optimiser: Optimizer,
    prototypes: MomentumPrototypes,
    images: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    cameras: CameraContrast | None = None,
    proxies: Tensor | None = None,
) -> tuple[dict[str, Tensor], Update]:
    """Contrast a batch with the prototypes, step, then move the prototypes.

    Args:
        encoder: In training mode.
        optimiser: Of the encoder.
        prototypes: K momentum prototypes, moved in place by the batches of all ranks.
        images: Augmented, in [-1, 1], shape (B, 3, H, W).
        labels: Cluster of each image, shape (B,).
        temperature: Softmax temperature.
        cameras: Adds ``within_camera`` and ``across_cameras``; None leaves cameras alone.
        proxies: Proxy of each image, shape (B,); only with ``cameras``.

    Returns:
        Unweighted loss terms, detached; and what became of the update.
    """
    features = F.normalize(encoder(images).embedding, dim=1)
    terms = {
        "cluster_contrast": prototype_cross_entropy(features, prototypes.rows, labels, temperature=temperature).mean()
    }
    weights = {"cluster_contrast": 1.0}
    if cameras is not None:
        assert proxies is not None, "camera contrast needs the proxy of each image"
        rows, layout = cameras.proxies.rows, cameras.layout
        terms["within_camera"] = within_camera_cross_entropy(
            features, rows, layout.camera, proxies, temperature=cameras.temperature
        ).mean()
        terms["across_cameras"] = across_camera_contrast(
            features,
            rows,
            layout.cluster,
            proxies,
            temperature=cameras.temperature,
            num_negatives=cameras.num_negatives,
        ).mean()
        weights |= {"within_camera": cameras.weight, "across_cameras": cameras.weight}
    outcome = update(weighted_sum(terms, weights), {"encoder": Trained(encoder, optimiser)})
    if not outcome.skipped:
        everyones = gather_batch(features.detach())
        prototypes.update(everyones, gather_batch(labels))
        if cameras is not None and proxies is not None:
            cameras.proxies.update(everyones, gather_batch(proxies))
    return {name: term.detach() for name, term in terms.items()}, outcome
