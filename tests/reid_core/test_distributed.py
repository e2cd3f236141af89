from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn

from reid_core.distributed import (
    average_gradients,
    broadcast,
    count_over_ranks,
    gather_batch,
    mean_over_ranks,
    own_slice,
    sum_over_ranks,
    synchronise_buffers,
    whole_mean,
    world,
)


def test_alone_everything_is_the_identity() -> None:
    rows = torch.arange(6.0).view(3, 2)
    assert world() == (0, 1)
    assert gather_batch(rows) is rows
    assert broadcast(rows) is rows
    assert torch.equal(own_slice(rows), rows)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))


def _differentiable(rank: int, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    own = own_slice(batch).clone().requires_grad_()
    (gather_batch(own) * torch.arange(12.0).view(4, 3) * (rank + 1)).sum().backward()  # type: ignore[no-untyped-call]
    summed = own_slice(batch).clone().requires_grad_()
    (sum_over_ranks(summed).sum() * (rank + 1)).backward()  # type: ignore[no-untyped-call]
    uneven = torch.arange(3.0)[: 3 - 2 * rank]  # 0, 1, 2 on the first rank, 0 on the second
    assert own.grad is not None
    assert summed.grad is not None
    return {
        "gathered_grad": own.grad,
        "summed_grad": summed.grad,
        "share": mean_over_ranks(uneven),
        "none": mean_over_ranks(torch.ones(2 * rank)),
        "whole": whole_mean(uneven),
        "count": torch.tensor(count_over_ranks(rank + 1, torch.device("cpu"))),
    }


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    batch = torch.arange(12.0).view(4, 3)
    network = _network()
    network[0](own_slice(batch)).sum().backward()  # the last layer has no gradient on rank 1
    if rank == 0:
        network[2](torch.ones(1, 2)).sum().backward()
    average_gradients(network.parameters())
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    norm.running_mean.fill_(float(rank))
    synchronise_buffers(network)
    result = {
        "first": network[0].weight.grad,
        "last": network[2].weight.grad,
        "rows": gather_batch(own_slice(batch)),
        "told": broadcast(torch.tensor([rank + 5])),
        "mean": norm.running_mean,
        **_differentiable(rank, batch),
    }
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_agree(tmp_path: Path) -> None:
    spawn(_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    batch = torch.arange(12.0).view(4, 3)
    reference = _network()
    (reference[0](batch).sum() / 2).backward()
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(result["first"], reference[0].weight.grad)
        torch.testing.assert_close(result["last"], torch.full((2, 2), 0.5))
        assert torch.equal(result["rows"], batch)
        assert result["told"].tolist() == [5]
        assert result["mean"].tolist() == [0.5, 0.5]
        # Rank 0 weighs 1, rank 1 weighs 2: 3 times the factor of each row of the global batch.
        assert torch.equal(result["gathered_grad"], 3 * batch[rank::2])
        assert torch.equal(result["summed_grad"], torch.full((2, 3), 3.0))
        assert float(result["whole"]) == 3 / 4
        assert int(result["count"]) == 3
    shares = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert [float(share["share"]) for share in shares] == [1.5, 0.0]  # their mean is that of 0, 1, 2 and 0
    assert [float(share["none"]) for share in shares] == [0.0, 2.0]  # a rank without a value has a share too


def test_a_batch_that_does_not_split_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_core.distributed.world", lambda: (0, 2))
    with pytest.raises(AssertionError, match="does not split"):
        own_slice(torch.zeros(3))
