"""One update of the identity warm-up (Cluster Contrast)."""

import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from reid_core.learning.distributed import average_gradients, gather_rows
from reid_core.learning.prototypes import MomentumPrototypes
from reid_core.losses.prototype import prototype_cross_entropy
from reid_core.models.identity import IdentityEncoder


def identity_step(
    encoder: IdentityEncoder,
    optimiser: Optimizer,
    prototypes: MomentumPrototypes,
    images: Tensor,
    labels: Tensor,
    *,
    temperature: float,
) -> dict[str, Tensor]:
    """Contrast a batch with the prototypes, step, then move the prototypes.

    Args:
        encoder: In training mode.
        optimiser: Of the encoder.
        prototypes: K momentum prototypes, moved in place by the batches of all ranks.
        images: Augmented, in [-1, 1], shape (B, 3, H, W).
        labels: Cluster of each image, shape (B,).
        temperature: Softmax temperature.

    Returns:
        Unweighted loss terms, detached.
    """
    features = F.normalize(encoder(images).embedding, dim=1)
    loss = prototype_cross_entropy(features, prototypes.rows, labels, temperature=temperature).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    average_gradients(encoder.parameters())
    optimiser.step()
    prototypes.update(gather_rows(features.detach()), gather_rows(labels))
    return {"cluster_contrast": loss.detach()}
