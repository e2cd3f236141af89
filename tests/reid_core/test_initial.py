import torch
from torch import nn

from reid_core.seeds import initialised


def _layer(seed: int, *names: str) -> torch.Tensor:
    return initialised(lambda: nn.Linear(3, 2), seed, *names).weight


def test_seed_and_names_alone_decide_the_weights() -> None:
    first = _layer(0, "generator")
    torch.rand(100)  # somebody else draws in between
    assert torch.equal(first, _layer(0, "generator"))
    assert not torch.equal(first, _layer(1, "generator"))
    assert not torch.equal(first, _layer(0, "discriminator"))


def test_the_random_state_of_the_process_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    _layer(0)
    assert torch.equal(before, torch.get_rng_state())
