import numpy as np
import pytest
import torch
from torch import Tensor

from reid_core.evaluation import ranking
from reid_core.evaluation.ranking import Side, evaluate_ranking, measure
from reid_core.evaluation.rerank import nearest_images, reranked_blocks


def _features(num: int, dimension: int, seed: int, *, num_people: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(num, dimension, generator=generator)
    if num_people:
        centres = torch.randn(num_people, dimension, generator=torch.Generator().manual_seed(99))
        drawn = centres[torch.arange(num) % num_people] + 0.8 * drawn
    return torch.nn.functional.normalize(drawn, dim=1)


def _dense(query: Tensor, gallery: Tensor, k1: int, k2: int, weight: float) -> np.ndarray:
    """Negative re-ranked distances (Q, G), written from the paper's definitions with sets and whole arrays."""
    features = torch.cat([query, gallery]).double().numpy()
    num = len(features)
    distance = 2 - 2 * features @ features.T
    distance /= distance.max(axis=1, keepdims=True)
    lists = []
    for i in range(num):
        others = sorted((j for j in range(num) if j != i), key=lambda j: distance[i, j])
        lists.append([i, *others])

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in lists[i][: k + 1] if i in lists[j][: k + 1]}

    vectors = np.zeros((num, num))
    for i in range(num):
        own = reciprocal(i, k1)
        grown = set(own)
        for j in own:
            half = reciprocal(j, round(k1 / 2))
            if len(own & half) > 2 / 3 * len(half):
                grown |= half
        for j in grown:
            vectors[i, j] = np.exp(-distance[i, j])
    vectors /= vectors.sum(axis=1, keepdims=True)
    expanded = np.stack([vectors[lists[i][:k2]].mean(axis=0) for i in range(num)])
    found = np.zeros((len(query), len(gallery)))
    for q in range(len(query)):
        for g in range(len(gallery)):
            other = len(query) + g
            shared = np.minimum(expanded[q], expanded[other]).sum()
            jaccard = 1 - shared / (2 - shared)
            found[q, g] = -(weight * distance[q, other] + (1 - weight) * jaccard)
    return found


@pytest.mark.parametrize(
    ("num_query", "num_gallery", "k1", "k2", "weight"),
    [(8, 40, 20, 6, 0.3), (15, 60, 7, 3, 0.0), (6, 30, 5, 1, 0.5), (10, 25, 10, 2, 1.0), (4, 9, 20, 6, 0.3)],
)
def test_equals_the_dense_definition(num_query: int, num_gallery: int, k1: int, k2: int, weight: float) -> None:
    for seed in range(3):
        query = _features(num_query, 8, seed, num_people=6)
        gallery = _features(num_gallery, 8, seed + 100, num_people=6)
        found = np.concatenate([b.copy() for b in reranked_blocks(query, gallery, k1=k1, k2=k2, weight=weight)])
        np.testing.assert_allclose(found, _dense(query, gallery, k1, k2, weight), atol=2e-5)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = _features(20, 8, 1, num_people=5), _features(50, 8, 2, num_people=5)
    [whole] = (block.copy() for block in reranked_blocks(query, gallery, k1=8, k2=3, weight=0.3))
    monkeypatch.setattr(ranking, "_BLOCK_ENTRIES", 200)
    blocks = [block.copy() for block in reranked_blocks(query, gallery, k1=8, k2=3, weight=0.3)]
    assert len(blocks) > 3
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


def test_the_original_distance_alone_keeps_the_order() -> None:
    query, gallery = _features(9, 8, 3), _features(40, 8, 4)
    [found] = reranked_blocks(query, gallery, k1=5, k2=2, weight=1.0)
    np.testing.assert_array_equal(np.argsort(-found, axis=1), np.argsort(-(query @ gallery.T).numpy(), axis=1))


def test_neighbour_lists_by_hand() -> None:
    # On a circle: 0, 10, 30, 180 degrees. Ties (two copies of 10 degrees) go by rising index.
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 30.0, 180.0, 10.0]))
    found = nearest_images(torch.stack([angles.cos(), angles.sin()], dim=1), 3)
    assert found.lists.tolist() == [[0, 1, 4], [1, 4, 0], [2, 1, 4], [3, 2, 1], [4, 1, 0]]
    np.testing.assert_allclose(found.widths[:2], [4.0, 2 - 2 * np.cos(np.deg2rad(170))], rtol=1e-6)
    assert nearest_images(torch.eye(3), 9).lists.shape == (3, 3), "lists are shortened to what there is"
    assert nearest_images(torch.eye(3), 1).lists.tolist() == [[0], [1], [2]]


def test_it_helps_where_neighbours_agree() -> None:
    people = torch.arange(400) % 20
    features = _features(400, 32, 5)
    centres = _features(20, 32, 6)
    features = torch.nn.functional.normalize(centres[people] + 1.1 * features, dim=1)
    cameras = (torch.arange(400) // 20) % 2
    query = Side(features[:40], people[:40], cameras[:40])
    gallery = Side(features[40:], people[40:], cameras[40:])
    plain = evaluate_ranking(query, gallery)
    blocks = reranked_blocks(query.features, gallery.features, k1=20, k2=6, weight=0.3)
    assert measure(blocks, query, gallery).mean_ap > plain.mean_ap + 0.05


def test_refuses_what_means_nothing() -> None:
    features = _features(5, 4, 0)
    with pytest.raises(AssertionError):
        next(reranked_blocks(features, features, k1=0, k2=1, weight=0.3))
    with pytest.raises(AssertionError):
        next(reranked_blocks(features, features, k1=2, k2=1, weight=1.5))
