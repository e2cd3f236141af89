"""Copying tensors to the device that computes."""

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
