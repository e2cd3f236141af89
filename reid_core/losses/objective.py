"""The one place where loss terms meet their weights."""

from collections.abc import Mapping

import torch
from torch import Tensor


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
