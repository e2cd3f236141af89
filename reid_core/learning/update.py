"""One step of several optimisers after one backward pass: all of them, or none when a gradient is not a number.

The one place where loss terms meet their weights.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from reid_core.distributed import average_gradients


class Trained(NamedTuple):
    """A network that an update changes.

    Attributes:
        network: Its parameters are those of ``optimiser``, as far as they are trained.
        optimiser: Steps after the backward pass.
        clip_norm: Largest norm of the network's gradient; None leaves it as it is.
    """

    network: nn.Module
    optimiser: Optimizer
    clip_norm: float | None = None


class Update(NamedTuple):
    """Outcome of an update, on the networks' device.

    Attributes:
        gradient_norms: Norm of each network's gradient before clipping, by name; the same on every rank.
        skipped: Whether nothing was changed, because a gradient was infinite or not a number; a scalar.
    """

    gradient_norms: dict[str, Tensor]
    skipped: Tensor


def update(loss: Tensor, trained: Mapping[str, Trained]) -> Update:
    """Differentiate a loss, average the gradients over the ranks, clip them and step.

    Whether to skip is decided on averaged gradients, which are equal on all ranks: all of them skip or none does.
    Fused optimisers decide on the device, and nobody waits for it; for others the one number is read here.

    Args:
        loss: Scalar.
        trained: Networks to change, by name.

    Returns:
        Norms, and whether the step was skipped.
    """
    for _, optimiser, _ in trained.values():
        optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norms = {}
    for name, (network, _, _) in trained.items():
        average_gradients(network.parameters())
        norms[name] = get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    skipped = ~torch.stack(list(norms.values())).isfinite().all()
    fused = all(_is_fused(optimiser) for _, optimiser, _ in trained.values())
    if not fused and bool(skipped):
        for _, optimiser, _ in trained.values():
            optimiser.zero_grad(set_to_none=True)
        return Update(norms, skipped)
    for name, (network, optimiser, clip_norm) in trained.items():
        if clip_norm is not None:
            clip_grads_with_norm_(network.parameters(), clip_norm, norms[name])
        if fused:
            optimiser.found_inf = skipped.float()  # type: ignore[attr-defined]  # where 1, the step changes nothing
        optimiser.step()
    return Update(norms, skipped)


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Multiply every named term by its weight and add them up.

    Args:
        terms: Unweighted scalars by name.
        weights: At least one weight for every term.

    Returns:
        Scalar.
    """
    assert terms, "an objective has at least one term"
    missing = terms.keys() - weights.keys()
    assert not missing, f"terms without a weight: {sorted(missing)}"
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def _is_fused(optimiser: Optimizer) -> bool:
    return all(group.get("fused") for group in optimiser.param_groups)
