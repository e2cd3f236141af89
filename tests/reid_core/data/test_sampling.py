import pytest
import torch

from reid_core.data.sampling import pk_batches, shuffled_batches
from reid_core.errors import UserError

LABELS = torch.tensor([0, 0, 0, 1, -1, 1, 2, 2, 2, 2, -1, 2])


def test_batches_hold_k_images_of_p_clusters_and_no_outlier(generator: torch.Generator) -> None:
    batches = pk_batches(LABELS, num_clusters=2, num_images=3, num_batches=6, generator=generator)
    assert batches.shape == (6, 6)
    for batch in LABELS[batches]:
        first, second = batch.view(2, 3)
        assert len(set(first.flatten().tolist())) == len(set(second.flatten().tolist())) == 1
        assert int(first[0]) >= 0
    # 12 draws over 3 clusters: each comes 4 times.
    assert torch.bincount(LABELS[batches][:, ::3].flatten()).tolist() == [4, 4, 4]


def test_images_of_a_large_cluster_do_not_repeat_in_a_batch(generator: torch.Generator) -> None:
    batches = pk_batches(LABELS, num_clusters=1, num_images=3, num_batches=30, generator=generator)
    for batch in batches:
        size = int((LABELS[batch[0]] == LABELS).sum())
        assert len(set(batch.flatten().tolist())) == min(3, size)


def test_cameras_take_turns(generator: torch.Generator) -> None:
    labels = torch.zeros(9, dtype=torch.long)
    cameras = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 2])
    batches = pk_batches(labels, num_clusters=1, num_images=3, num_batches=10, generator=generator, cameras=cameras)
    for batch in batches:
        assert sorted(cameras[batch].tolist()) == [0, 1, 2]


def test_only_outliers_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(UserError, match="outlier"):
        pk_batches(torch.full((4,), -1), num_clusters=2, num_images=2, num_batches=1, generator=generator)


def test_a_shuffle_uses_each_image_once(generator: torch.Generator) -> None:
    index = torch.arange(10, 23)
    batches = shuffled_batches(index, 4, generator=generator)
    assert batches.shape == (3, 4)
    assert len(set(batches.flatten().tolist())) == 12
    assert set(batches.flatten().tolist()) <= set(index.tolist())


def test_fewer_images_than_a_batch_repeat(generator: torch.Generator) -> None:
    batches = shuffled_batches(torch.tensor([3, 5, 8]), 8, generator=generator)
    assert batches.shape == (1, 8)
    assert set(batches.flatten().tolist()) == {3, 5, 8}


def test_no_image_is_refused(generator: torch.Generator) -> None:
    with pytest.raises(UserError, match="no image"):
        shuffled_batches(torch.empty(0, dtype=torch.long), 8, generator=generator)


def test_a_wished_number_of_batches_repeats_images_or_leaves_some_out(generator: torch.Generator) -> None:
    index = torch.arange(10)
    many = shuffled_batches(index, 4, generator=generator, num_batches=5)
    assert many.shape == (5, 4)
    assert torch.equal(torch.bincount(many.flatten()), torch.full((10,), 2))
    assert shuffled_batches(index, 4, generator=generator, num_batches=1).shape == (1, 4)
