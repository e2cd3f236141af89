"""Copying tensors to the device that computes.

Making the next item in another thread while the one before is worked on.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on a device.

    To a GPU it travels from pinned memory, and nobody waits for it: kernels that read it come after the copy.

    Args:
        tensor: On the CPU, any shape.
        device: Where it is wanted.

    Returns:
        The same values on ``device``; the tensor itself where it is there already.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


T = TypeVar("T")


def prefetch(items: Iterator[T], *, device: torch.device | str = "cpu") -> Iterator[T]:
    """Yield items in their order; the next one is made by one other thread in the meantime.

    No more than one item waits. What the items' maker raises is raised here, in its turn. Leaving early waits for the
    item that is being made.

    Args:
        items: None of them is None. They are made by one thread alone, so that random draws keep their order.
        device: That the maker sends tensors to: a GPU is made the thread's own, or each process would use the first.

    Yields:
        The items.
    """
    device = torch.device(device)
    begin = partial(torch.cuda.set_device, device) if device.type == "cuda" else None
    with ThreadPoolExecutor(1, initializer=begin) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
