"""How a network computes: in which precision, in which memory layout, compiled or not. Its weights stay float32.

What is reduced are convolutions and matrix products, inside a network. Whatever leaves a network is float32 again, so
that losses, normalisations, the memory and contrast logits never see less; normalisation layers take their statistics
in float32 in any case.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Reducible(Protocol):
    """A module that can compute in fewer bits."""

    computes_in: torch.dtype | None


@runtime_checkable
class Compilable(Protocol):
    """A network that knows which of its parts torch may compile."""

    def compilable(self) -> list[nn.Module]:
        """Return these parts."""
        ...


def reduced(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[Any]:
    """Return a block in which convolutions and matrix products compute in ``dtype``; None changes nothing."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def widened(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 where it has fewer bits, else the tensor itself; any shape."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def speed_up(
    networks: Iterable[nn.Module],
    *,
    dtype: torch.dtype | None = None,
    channels_last: bool = False,
    compiled: bool = False,
) -> None:
    """Let networks compute differently from now on; names and values of their weights stay.

    Args:
        networks: Encoders, generators and discriminators, changed in place.
        dtype: ``torch.bfloat16``, which needs no loss scaling; None computes in the weights' precision.
        channels_last: Whether weights, and with them feature maps, lie in memory pixel by pixel.
        compiled: Whether torch compiles them; the first batches are slow.
    """
    for network in networks:
        if channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in network.modules():
            if isinstance(part, Reducible):
                part.computes_in = dtype
        if compiled:
            assert isinstance(network, Compilable), type(network)
            for part in network.compilable():
                part.compile(dynamic=True)  # numbers of generated images differ from batch to batch
