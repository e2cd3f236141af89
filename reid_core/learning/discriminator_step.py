"""One update of the discriminator.

Letters: B real images, F generated ones, H x W pixels.
"""

from torch import Tensor
from torch.optim import Optimizer

from reid_core.learning.distributed import mean_over_ranks
from reid_core.learning.update import Trained, Update, update
from reid_core.losses.adversarial import discern
from reid_core.losses.gradient_penalty import r1_penalty
from reid_core.losses.objective import weighted_sum
from reid_core.models.discriminator import Discriminator


def discriminator_step(
    discriminator: Discriminator, optimiser: Optimizer, images: Tensor, fakes: Tensor, *, r1_weight: float
) -> tuple[dict[str, Tensor], Update]:
    """Update the discriminator alone: generated images are constants here, the generator is left as it is.

    Args:
        discriminator: Dis, updated in place.
        optimiser: Of the discriminator.
        images: Real images, shape (B, 3, H, W).
        fakes: Generated images, shape (F, 3, H, W).
        r1_weight: Weight of the gradient penalty; 0 leaves it out.

    Returns:
        Unweighted loss terms, detached; and what became of the update.
    """
    real = images.detach().clone().requires_grad_(r1_weight > 0)
    scores = discriminator.exact(real) if r1_weight > 0 else discriminator(real)
    judged_real = mean_over_ranks(discern(scores, real=True))
    judged_fake = mean_over_ranks(discern(discriminator(fakes.detach()), real=False))
    terms: dict[str, Tensor] = {"discriminator": judged_real + judged_fake}
    if r1_weight > 0:
        terms["r1"] = mean_over_ranks(r1_penalty(scores, real))
    loss = weighted_sum(terms, {"discriminator": 1.0, "r1": r1_weight})
    outcome = update(loss, {"discriminator": Trained(discriminator, optimiser)})
    return {name: term.detach() for name, term in terms.items()}, outcome
