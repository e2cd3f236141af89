import torch
from torch import nn

from reid_core.learning.batch_statistics import freeze_batch_norm, running_statistics_kept


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()


def _running_mean(network: nn.Sequential) -> torch.Tensor:
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    return norm.running_mean


def test_frozen_batch_norms_keep_their_statistics_and_the_rest_trains(generator: torch.Generator) -> None:
    network = _network()
    freeze_batch_norm(network)
    network(torch.randn(4, 3, 2, 2, generator=generator))
    assert torch.equal(_running_mean(network), torch.zeros(4))
    assert network[2].training


def test_statistics_are_kept_inside_and_move_outside(generator: torch.Generator) -> None:
    network = _network()
    images = 5 + torch.randn(4, 3, 2, 2, generator=generator)
    with running_statistics_kept(network):
        seen = network[1](network[0](images))
    assert torch.equal(_running_mean(network), torch.zeros(4))
    torch.testing.assert_close(seen.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)  # the batch's statistics
    network(images)
    assert not torch.equal(_running_mean(network), torch.zeros(4))
