import math

import pytest
import torch
import torch.nn.functional as F

from reid_core.losses.contrastive import memory_nce


def test_two_orthogonal_rows_by_hand() -> None:
    # q equals row 0 and is orthogonal to row 1: loss = log(e^(1/t) + e^0) - 1/t with t = 0.5.
    rows = torch.eye(2)
    loss = memory_nce(rows[:1], rows, torch.tensor([0]), torch.tensor([[False, True]]), temperature=0.5)
    torch.testing.assert_close(loss, torch.tensor([math.log(math.exp(2.0) + 1.0) - 2.0]))


def test_matches_a_slow_loop(generator: torch.Generator) -> None:
    query = F.normalize(torch.randn(4, 6, generator=generator), dim=1)
    bank = F.normalize(torch.randn(9, 6, generator=generator), dim=1)
    positive = torch.randint(9, (4,), generator=generator)
    negatives = torch.rand(4, 9, generator=generator) < 0.5
    negatives[torch.arange(4), positive] = False
    losses = memory_nce(query, bank, positive, negatives, temperature=0.07)
    for row in range(4):
        numerator = math.exp(float(query[row] @ bank[positive[row]]) / 0.07)
        total = numerator + sum(
            math.exp(float(query[row] @ bank[column]) / 0.07) for column in range(9) if negatives[row, column]
        )
        assert float(losses[row]) == pytest.approx(-math.log(numerator / total), rel=1e-4)


def test_gradient_and_untouched_bank(generator: torch.Generator) -> None:
    query = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    bank = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    before = bank.clone()
    positive, negatives = torch.tensor([0, 1, 2]), torch.tensor([[False, False, False, True, True]]).expand(3, -1)
    assert torch.autograd.gradcheck(lambda q: memory_nce(q, bank, positive, negatives, temperature=0.5), (query,))
    assert torch.equal(bank, before)


def test_without_negatives_nothing_is_to_be_learned() -> None:
    rows = torch.eye(2)
    loss = memory_nce(rows[:1], rows, torch.tensor([0]), torch.zeros(1, 2, dtype=torch.bool), temperature=0.1)
    torch.testing.assert_close(loss, torch.zeros(1))


def test_temperature_zero_is_refused() -> None:
    with pytest.raises(AssertionError):
        memory_nce(torch.eye(2), torch.eye(2), torch.arange(2), torch.zeros(2, 2, dtype=torch.bool), temperature=0.0)
