import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.learning.memory import cluster_means
from reid_core.learning.mixing import Mixture
from reid_core.losses.contrastive import (
    Draws,
    Pool,
    draw_rows,
    memory_nce,
    mixed_prototype_cross_entropy,
    mixing_contrast,
    prototype_cross_entropy,
    rotation_contrast,
)

LABELS = torch.tensor([0, 0, 1, 1, 1, -1])
INDEX = torch.tensor([0, 2, 3])


@pytest.fixture
def pool(generator: torch.Generator) -> Pool:
    rows = F.normalize(torch.randn(6, 8, generator=generator), dim=1)
    return Pool(rows, LABELS, cluster_means(rows, LABELS), None)


def _features(generator: torch.Generator, count: int) -> Tensor:
    return F.normalize(torch.randn(count, 8, generator=generator), dim=1)


def test_rotation_contrast_is_the_sum_of_three_terms(generator: torch.Generator, pool: Pool) -> None:
    features, views, viewed = _features(generator, 3), _features(generator, 2), torch.tensor([0, 2])
    draws = draw_rows(pool, INDEX, num_negatives=100, generator=generator)

    def nce(query: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
        return memory_nce(query, pool.rows, positive, negatives, temperature=0.1).mean()

    wanted = (
        nce(views, INDEX[viewed], draws.negatives[viewed])
        + nce(views, draws.positive[viewed], draws.negatives[viewed])
        + nce(features, draws.positive, draws.negatives)
    )
    found = rotation_contrast(features, views, viewed, INDEX, pool, draws, 0.1)
    torch.testing.assert_close(found, wanted)


def test_without_views_the_image_is_still_contrasted(generator: torch.Generator, pool: Pool) -> None:
    features = _features(generator, 3).requires_grad_()
    draws = draw_rows(pool, INDEX, num_negatives=100, generator=generator)
    nothing = torch.empty(0, dtype=torch.long)
    loss = rotation_contrast(features, features[:0], nothing, INDEX, pool, draws, 0.1)
    assert bool(loss.isfinite())
    loss.backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None


def test_mixing_contrast_weighs_both_clusters(generator: torch.Generator, pool: Pool) -> None:
    features, mixes = _features(generator, 3), _features(generator, 3)
    mixture = Mixture(torch.tensor([1, 2, 0]), torch.tensor([0.6, 0.9, 1.0]))
    own = LABELS[INDEX]
    wanted = (
        prototype_cross_entropy(features, pool.prototypes, own, temperature=0.1).mean()
        + mixed_prototype_cross_entropy(
            mixes, pool.prototypes, (own, torch.tensor([1, 1, 0])), mixture.ratio, temperature=0.1
        ).mean()
    )
    torch.testing.assert_close(mixing_contrast(features, mixes, INDEX, mixture, pool, 0.1), wanted)


def test_a_perfect_view_costs_less_than_a_stranger(generator: torch.Generator, pool: Pool) -> None:
    draws = Draws(torch.tensor([1, 3, 4]), draw_rows(pool, INDEX, num_negatives=100, generator=generator).negatives)
    viewed, own = torch.arange(3), pool.rows[INDEX]
    right = rotation_contrast(own, own, viewed, INDEX, pool, draws, 0.1)
    wrong = rotation_contrast(own, own[[1, 0, 0]], viewed, INDEX, pool, draws, 0.1)
    assert float(right) < float(wrong)
