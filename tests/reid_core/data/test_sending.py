import pytest
import torch

from reid_core.data.transfer import send


def test_what_is_there_already_stays() -> None:
    tensor = torch.arange(3)
    assert send(tensor, torch.device("cpu")) is tensor


@pytest.mark.gpu
def test_a_gpu_gets_the_same_values() -> None:
    tensor = torch.arange(12).view(3, 4)
    sent = send(tensor[:, ::2], torch.device("cuda"))
    assert sent.is_cuda
    assert torch.equal(sent.cpu(), tensor[:, ::2])
