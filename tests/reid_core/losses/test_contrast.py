import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.learning.memory import cluster_means, draw_negatives
from reid_core.losses.contrastive import (
    memory_nce,
    mixed_prototype_cross_entropy,
    mixing_contrast,
    prototype_cross_entropy,
    rotation_contrast,
)

LABELS = torch.tensor([0, 0, 1, 1, 1, -1])
INDICES, POSITIVES = torch.tensor([0, 2, 3]), torch.tensor([1, 3, 4])
NEGATIVES = draw_negatives(LABELS, INDICES, most=100, generator=torch.Generator())


def _features(generator: torch.Generator, count: int) -> Tensor:
    return F.normalize(torch.randn(count, 8, generator=generator), dim=1)


def _rotation(features: Tensor, views: Tensor, viewed: Tensor, memory: Tensor) -> Tensor:
    return rotation_contrast(
        features,
        views,
        viewed,
        memory=memory,
        indices=INDICES,
        positives=POSITIVES,
        negatives=NEGATIVES,
        temperature=0.1,
    )


def test_rotation_contrast_is_the_sum_of_three_terms(generator: torch.Generator) -> None:
    memory, features, views = _features(generator, 6), _features(generator, 3), _features(generator, 2)
    viewed = torch.tensor([0, 2])

    def nce(query: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        return memory_nce(query, memory, positives, negatives, temperature=0.1).mean()

    wanted = (
        nce(views, INDICES[viewed], NEGATIVES[viewed])
        + nce(views, POSITIVES[viewed], NEGATIVES[viewed])
        + nce(features, POSITIVES, NEGATIVES)
    )
    torch.testing.assert_close(_rotation(features, views, viewed, memory), wanted)


def test_without_views_the_image_is_still_contrasted(generator: torch.Generator) -> None:
    memory, features = _features(generator, 6), _features(generator, 3).requires_grad_()
    loss = _rotation(features, features[:0], torch.empty(0, dtype=torch.long), memory)
    torch.testing.assert_close(loss, memory_nce(features, memory, POSITIVES, NEGATIVES, temperature=0.1).mean())
    loss.backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert bool(features.grad.isfinite().all())


def test_a_perfect_view_costs_less_than_a_stranger(generator: torch.Generator) -> None:
    memory = _features(generator, 6)
    own, viewed = memory[INDICES], torch.arange(3)
    right, wrong = (_rotation(own, own[order], viewed, memory) for order in ([0, 1, 2], [1, 0, 0]))
    assert float(right) < float(wrong)


def test_mixing_contrast_weighs_both_clusters(generator: torch.Generator) -> None:
    features, mixes = _features(generator, 3), _features(generator, 3)
    prototypes = cluster_means(_features(generator, 6), LABELS)
    ratio, own, other = torch.tensor([0.6, 0.9, 1.0]), LABELS[INDICES], torch.tensor([1, 1, 0])
    wanted = (
        prototype_cross_entropy(features, prototypes, own, temperature=0.1).mean()
        + mixed_prototype_cross_entropy(mixes, prototypes, (own, other), ratio, temperature=0.1).mean()
    )
    found = mixing_contrast(
        features, mixes, prototypes=prototypes, labels=own, partner_labels=other, ratio=ratio, temperature=0.1
    )
    torch.testing.assert_close(found, wanted)
