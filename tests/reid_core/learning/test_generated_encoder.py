import pytest
import torch
from torch import nn

from reid_core.learning.generated_encoder import (
    GeneratedEncoder,
    GroupedBatchNorm,
    freeze_batch_norm,
    running_statistics_kept,
)
from reid_core.models.identity import IdentityEncoder
from reid_core.seeds import initialised


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


def _encoder() -> IdentityEncoder:
    return initialised(lambda: IdentityEncoder("resnet10"), 0).train()


def test_each_group_is_normalised_as_if_it_were_alone(generator: torch.Generator) -> None:
    images = torch.rand(4, 3, 32, 16, generator=generator).double()
    together, alone = _encoder().double(), _encoder().double()
    seen = GeneratedEncoder(together, batch_size=4, group_size=2).real(images).embedding
    for group in range(2):  # image p belongs to group p modulo 2
        rows = torch.tensor([group, group + 2])
        torch.testing.assert_close(seen[rows], alone(images[rows]).embedding)


def test_one_group_is_torch_s_own_batch_norm_with_its_running_statistics(generator: torch.Generator) -> None:
    layer = nn.BatchNorm2d(3)
    grouped = GroupedBatchNorm(layer, num_groups=1, shared=False)
    images = torch.randn(4, 3, 5, 2, generator=generator) * 3 + 1
    torch.testing.assert_close(grouped(images), layer(images))
    torch.testing.assert_close(grouped.state_dict(), layer.state_dict())


def test_gradients_are_those_of_torch_s_own_batch_norm(generator: torch.Generator) -> None:
    layer = nn.BatchNorm1d(3)
    grouped = GroupedBatchNorm(layer, num_groups=1, shared=False)
    rows, aim = torch.randn(2, 6, 3, generator=generator)
    gradients = []
    for norm in (layer, grouped):
        given = rows.clone().requires_grad_()
        (norm(given) * aim).sum().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_lonely_value_is_normalised_by_the_running_statistics() -> None:
    layer = nn.BatchNorm1d(2)
    assert layer.running_mean is not None
    layer.running_mean.fill_(1.0)
    grouped = GroupedBatchNorm(layer, num_groups=2, shared=False)
    grouped.groups = torch.tensor([0, 1, 1])
    seen = grouped(torch.tensor([[3.0, 1.0], [0.0, 0.0], [2.0, 4.0]]))
    torch.testing.assert_close(seen[0], torch.tensor([2.0, 0.0]), atol=1e-4, rtol=0)  # (3 - 1) / 1
    torch.testing.assert_close(seen[1:], torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), atol=1e-4, rtol=0)


def test_one_rank_and_one_group_leave_the_encoder_as_it_is() -> None:
    encoder = _encoder()
    GeneratedEncoder(encoder, batch_size=4, group_size=0)
    assert not any(isinstance(layer, GroupedBatchNorm) for layer in encoder.modules())


def test_groups_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(AssertionError):
        GeneratedEncoder(_encoder(), batch_size=4, group_size=3)
