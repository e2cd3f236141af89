import copy

import pytest
import torch
from torch import nn

from reid_core.learning.update import Trained, update


def _line(weight: float) -> nn.Linear:
    line = nn.Linear(1, 1, bias=False)
    nn.init.constant_(line.weight, weight)
    return line


def _descent(network: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), lr=0.1)


def test_a_step_by_hand() -> None:
    # loss = 3 w, gradient 3, step 0.1: 1 -> 0.7; clipped to norm 1: 1 -> 0.9.
    first, second = _line(1.0), _line(1.0)
    loss = first(torch.tensor([3.0])) + second(torch.tensor([3.0]))
    outcome = update(
        loss.sum(), {"first": Trained(first, _descent(first)), "second": Trained(second, _descent(second), 1.0)}
    )
    assert not bool(outcome.skipped)
    torch.testing.assert_close(first.weight.detach(), torch.tensor([[0.7]]))
    torch.testing.assert_close(second.weight.detach(), torch.tensor([[0.9]]), atol=1e-5, rtol=0)
    assert {name: float(norm) for name, norm in outcome.gradient_norms.items()} == {"first": 3.0, "second": 3.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_broken_gradient_stops_all_steps(value: float) -> None:
    good, bad = _line(1.0), _line(1.0)
    loss = good(torch.tensor([3.0])) + bad(torch.tensor([value]))
    outcome = update(loss.sum(), {"good": Trained(good, _descent(good)), "bad": Trained(bad, _descent(bad))})
    assert bool(outcome.skipped)
    for network in (good, bad):
        torch.testing.assert_close(network.weight.detach(), torch.ones(1, 1))
        assert network.weight.grad is None


def test_gradients_of_an_earlier_update_are_gone() -> None:
    line = _line(0.0)
    optimiser = _descent(line)
    for _ in range(2):
        outcome = update(line(torch.tensor([2.0])).sum(), {"line": Trained(line, optimiser)})
        assert float(outcome.gradient_norms["line"]) == 2.0


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_fused_optimisers_skip_without_being_told(make: type[torch.optim.Optimizer]) -> None:
    network = _line(1.0)
    optimiser = make(network.parameters(), lr=0.1, fused=True)  # type: ignore[call-arg]
    for value, changes in ((3.0, True), (float("nan"), False), (3.0, True)):
        before = network.weight.detach().clone()
        state = copy.deepcopy(optimiser.state_dict()["state"])
        outcome = update(network(torch.tensor([value])).sum(), {"line": Trained(network, optimiser, 1.0)})
        assert bool(outcome.skipped) != changes
        assert torch.equal(network.weight.detach(), before) != changes
        if not changes:
            assert str(optimiser.state_dict()["state"]) == str(state)
