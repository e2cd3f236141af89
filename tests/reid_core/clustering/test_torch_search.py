import numpy as np
import pytest
import torch

from reid_core.clustering import torch_search
from reid_core.clustering.neighbours import exact_neighbours
from reid_core.clustering.torch_search import TorchSearch
from tests.reid_core.clustering.cases import random_features, slow_neighbours

_CPU = torch.device("cpu")


def test_three_points_by_hand() -> None:
    features = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    values, rows = TorchSearch(features, _CPU).nearest(features, 2)
    np.testing.assert_array_equal(rows, [[0, 2], [1, 2], [2, 1]])
    np.testing.assert_allclose(values, [[1, 0.6], [1, 0.8], [1, 0.8]], atol=1e-6)


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    features = random_features(np.random.default_rng(3), 90)
    whole = TorchSearch(features, _CPU).nearest(features, 7)
    monkeypatch.setattr(torch_search, "_BLOCK_BYTES", 4 * 90 * 20)  # twenty rows at a time
    parts = TorchSearch(features, _CPU).nearest(features, 7)
    np.testing.assert_allclose(parts[0], whole[0], atol=1e-6)


@pytest.mark.parametrize("num_images", [1, 7, 90])
def test_exact_ties_follow_the_index(num_images: int) -> None:
    features = np.random.default_rng(num_images).choice([-0.5, 0.5], size=(num_images, 4)).astype(np.float32)
    search = TorchSearch(features, _CPU).nearest
    for k in (1, 5, num_images):
        found = exact_neighbours(features, 0, num_images, k, search)
        np.testing.assert_array_equal(found.indices, slow_neighbours(features, k))


def test_a_read_only_array_is_read() -> None:
    features = np.eye(3, dtype=np.float32)
    features.flags.writeable = False  # as shared memory is
    np.testing.assert_array_equal(TorchSearch(features, _CPU).nearest(features, 1)[1], [[0], [1], [2]])
