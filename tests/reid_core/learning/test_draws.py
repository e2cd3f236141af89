import torch

from reid_core.learning.memory import draw_negatives, draw_positives

LABELS = torch.tensor([0, 0, 1, 0, 1, -1, 2])


def test_positives_are_others_of_the_same_cluster(generator: torch.Generator) -> None:
    index = torch.tensor([0, 2, 6])
    drawn = torch.stack([draw_positives(LABELS, index, generator=generator) for _ in range(60)])
    assert set(drawn[:, 0].tolist()) == {1, 3}
    assert set(drawn[:, 1].tolist()) == {4}
    assert set(drawn[:, 2].tolist()) == {6}  # alone in its cluster: itself


def test_other_cameras_are_preferred(generator: torch.Generator) -> None:
    cameras = torch.tensor([0, 0, 0, 1, 0, 0, 0])
    index = torch.tensor([0, 2])
    drawn = torch.stack([draw_positives(LABELS, index, generator=generator, cameras=cameras) for _ in range(40)])
    assert set(drawn[:, 0].tolist()) == {3}  # row 1 shares the camera
    assert set(drawn[:, 1].tolist()) == {4}  # no other camera in the cluster: the same one serves


def test_negatives_are_all_rows_of_other_clusters(generator: torch.Generator) -> None:
    found = draw_negatives(LABELS, torch.tensor([0, 6]), most=100, generator=generator)
    assert found[0].nonzero().flatten().tolist() == [2, 4, 6]  # neither its cluster nor the outlier
    assert found[1].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


def test_negatives_are_sampled_down(generator: torch.Generator) -> None:
    labels = torch.arange(50) % 5
    index = torch.tensor([0, 7])
    draws = torch.stack([draw_negatives(labels, index, most=10, generator=generator) for _ in range(100)])
    assert bool((draws.sum(dim=2) == 10).all())
    assert not bool(draws[:, 0, labels == 0].any())
    assert bool(draws[:, 0, labels != 0].any(dim=0).all())  # everyone's turn comes
