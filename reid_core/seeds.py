"""Random states derived from one seed and the names of what they are for.

Every draw of the project comes from a generator made here, so that a run resumed at an epoch draws what the
uninterrupted run would have drawn, without saving any random state.
"""

import hashlib

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on ``seed`` and on every name, in order."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator_for(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator seeded for one purpose, for example ``generator_for(0, "joint", epoch)``."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))
