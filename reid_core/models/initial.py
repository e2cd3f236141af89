"""Building a network whose random start depends on a seed alone."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from reid_core.seeds import derive_seed

M = TypeVar("M", bound=nn.Module)


def initialised(build: Callable[[], M], seed: int, *names: str) -> M:
    """Build a network under its own seed, leaving the process's random state as it was.

    Args:
        build: Makes the network; draws its weights from torch's global state.
        seed: Seed of the stage.
        names: What the network is for.

    Returns:
        The same weights for the same seed and names, whoever drew numbers before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "initial", *names))
        return build()
