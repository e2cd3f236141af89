import math

import pytest
import torch
import torch.nn.functional as F

from reid_core.losses.contrastive import mixed_prototype_cross_entropy, prototype_cross_entropy


def test_orthogonal_prototypes_by_hand() -> None:
    # Similarity 1 to the own prototype and 0 to two others, t = 1: log(e + 2) - 1.
    prototypes = torch.eye(3)
    loss = prototype_cross_entropy(prototypes[:1], prototypes, torch.tensor([0]), temperature=1.0)
    torch.testing.assert_close(loss, torch.tensor([math.log(math.e + 2) - 1]))


def test_mixture_matches_a_slow_loop(generator: torch.Generator) -> None:
    query = F.normalize(torch.randn(4, 6, generator=generator), dim=1)
    prototypes = F.normalize(torch.randn(5, 6, generator=generator), dim=1)
    first, second = torch.randint(5, (2, 4), generator=generator)
    ratio = torch.rand(4, generator=generator)
    losses = mixed_prototype_cross_entropy(query, prototypes, (first, second), ratio, temperature=0.2)
    for row in range(4):
        scores = [math.exp(float(query[row] @ prototype) / 0.2) for prototype in prototypes]
        log_share = [math.log(score / sum(scores)) for score in scores]
        share = float(ratio[row])
        wanted = -share * log_share[int(first[row])] - (1 - share) * log_share[int(second[row])]
        assert float(losses[row]) == pytest.approx(wanted, rel=1e-4)


def test_a_mixture_of_one_is_plain_cross_entropy(generator: torch.Generator) -> None:
    query = torch.randn(3, 4, generator=generator)
    prototypes = torch.randn(5, 4, generator=generator)
    label, other = torch.tensor([1, 0, 4]), torch.tensor([0, 2, 2])
    mixed = mixed_prototype_cross_entropy(query, prototypes, (label, other), torch.ones(3), temperature=0.1)
    torch.testing.assert_close(mixed, prototype_cross_entropy(query, prototypes, label, temperature=0.1))


def test_gradient(generator: torch.Generator) -> None:
    query = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    prototypes = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    labels = (torch.tensor([1, 0, 4]), torch.tensor([0, 2, 2]))
    ratio = torch.tensor([0.5, 0.7, 0.9], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda q: mixed_prototype_cross_entropy(q, prototypes, labels, ratio, temperature=0.5), (query,)
    )


def test_a_label_without_prototype_is_refused() -> None:
    with pytest.raises((IndexError, RuntimeError)):
        prototype_cross_entropy(torch.eye(2), torch.eye(2), torch.tensor([0, 2]), temperature=0.1)
