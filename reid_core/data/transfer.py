"""Getting batches to the device in time: copies that nobody waits for, and preparing the next batch meanwhile."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on a device.

    A copy to a GPU starts from pinned memory and returns at once; kernels that read the result run after the copy.

    Args:
        tensor: Any shape, on the CPU.
        device: Device of the result.

    Returns:
        The same values on ``device``; the tensor itself when that is the CPU.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def prefetch(items: Iterator[T], *, device: torch.device | str = "cpu") -> Iterator[T]:
    """Yield items in their order while one other thread prepares the next one.

    At most one item waits. An error of the iterator is raised here, in its turn. Leaving early waits for the item in
    preparation.

    Args:
        items: Iterator without None. A single thread advances it, so that random draws keep their order.
        device: Device that the iterator sends tensors to: it becomes the thread's default GPU, which would otherwise
            be the first one in every process.

    Yields:
        The items.
    """
    device = torch.device(device)
    set_device = partial(torch.cuda.set_device, device) if device.type == "cuda" else None
    with ThreadPoolExecutor(1, initializer=set_device) as pool:
        upcoming = pool.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield item
