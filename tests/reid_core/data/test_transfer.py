import threading
from collections.abc import Iterator

import pytest
import torch

from reid_core.data.transfer import prefetch, send


def test_what_is_there_already_stays() -> None:
    tensor = torch.arange(3)
    assert send(tensor, torch.device("cpu")) is tensor


@pytest.mark.gpu
def test_a_gpu_gets_the_same_values() -> None:
    tensor = torch.arange(12).view(3, 4)
    sent = send(tensor[:, ::2], torch.device("cuda"))
    assert sent.is_cuda
    assert torch.equal(sent.cpu(), tensor[:, ::2])


def test_items_come_in_order_and_from_one_other_thread() -> None:
    makers = set()

    def items() -> Iterator[int]:
        for item in range(20):
            makers.add(threading.get_ident())
            yield item

    assert list(prefetch(items())) == list(range(20))
    assert len(makers) == 1
    assert threading.get_ident() not in makers


def test_one_item_is_made_ahead_and_no_more() -> None:
    made = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for item in range(5):
            made.append(item)
            if item == 1:
                second.set()
            yield item

    coming = prefetch(items())
    assert next(coming) == 0
    assert second.wait(10)
    assert made == [0, 1]
    coming.close()  # type: ignore[attr-defined]
    assert made == [0, 1]


def test_an_error_arrives_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    coming = prefetch(items())
    assert next(coming) == 1
    with pytest.raises(KeyError, match="broken"):
        next(coming)


def test_draws_are_those_of_a_plain_loop() -> None:
    def draws() -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            yield torch.rand(3, generator=generator)

    for here, there in zip(draws(), prefetch(draws()), strict=True):
        assert torch.equal(here, there)
