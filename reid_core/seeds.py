"""Random states derived from one seed and the names of what they are for.

Every draw of the project comes from a generator made here, so that a run resumed at an epoch draws what the
uninterrupted run would have drawn, without saving any random state.

Building a network whose random start depends on a seed alone.
"""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on ``seed`` and on every name, in order."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator_for(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator seeded for one purpose, for example ``generator_for(0, "joint", epoch)``."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


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
