"""One update of the identity warm-up (Cluster Contrast), with or without cameras.

Letters: B images, K clusters, J proxies, H x W pixels.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.optim import Optimizer

from reid_core.distributed import gather_batch
from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.memory import MomentumPrototypes, ProxyLayout
from reid_core.learning.update import Trained, Update, update, weighted_sum
from reid_core.losses.camera import across_camera_contrast, within_camera_cross_entropy
from reid_core.losses.contrastive import prototype_cross_entropy


@dataclass(frozen=True)
class CameraSettings:
    """Contrast with one proxy for each cluster and camera; needs camera ids (defaults of CAP, arXiv 2012.10674).

    Attributes:
        weight: Weight of both camera terms; 0 = off (CAP: 0.5 and 1).
        temperature: Softmax temperature of the camera terms (CAP).
        num_negatives: Nearest proxies of other clusters, across cameras (CAP).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    weight: Annotated[float, Ge(0), Le(1000)] = 0.0
    temperature: Annotated[float, Gt(0), Le(10)] = 0.07
    num_negatives: Annotated[int, Ge(1)] = 50


@dataclass(frozen=True)
class CameraContrast:
    """Proxies of an epoch.

    Attributes:
        proxies: J momentum proxies, moved in place by the batches of all ranks.
        layout: Cluster and camera of every proxy, on the proxies' device.
        settings: Of the camera terms.
    """

    proxies: MomentumPrototypes
    layout: ProxyLayout
    settings: CameraSettings


def identity_step(
    encoder: GeneratedEncoder,
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
        encoder: In training mode; all images are real ones.
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
    features = F.normalize(encoder.real(images).embedding, dim=1)  # (B, D)
    contrast = prototype_cross_entropy(features, prototypes.features, labels, temperature=temperature)  # (B,)
    terms = {"cluster_contrast": contrast.mean()}
    weights = {"cluster_contrast": 1.0}
    if cameras is not None:
        assert proxies is not None, "camera contrast needs the proxy of each image"
        settings, layout = cameras.settings, cameras.layout
        within = within_camera_cross_entropy(
            features, cameras.proxies.features, layout.camera, proxies, temperature=settings.temperature
        )
        across = across_camera_contrast(
            features,
            cameras.proxies.features,
            layout.cluster,
            proxies,
            temperature=settings.temperature,
            num_negatives=settings.num_negatives,
        )
        terms |= {"within_camera": within.mean(), "across_cameras": across.mean()}
        weights |= {"within_camera": settings.weight, "across_cameras": settings.weight}
    outcome = update(weighted_sum(terms, weights), {"encoder": Trained(encoder.network, optimiser)})

    # After the step, and by the features of before it, of all ranks.
    batch_features = gather_batch(features.detach())
    prototypes.update(batch_features, gather_batch(labels), skip=outcome.skipped)
    if cameras is not None and proxies is not None:
        cameras.proxies.update(batch_features, gather_batch(proxies), skip=outcome.skipped)
    return {name: term.detach() for name, term in terms.items()}, outcome
