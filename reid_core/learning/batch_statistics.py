"""Which images may speak in an encoder's batch normalisation."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze_batch_norm(module: nn.Module) -> None:
    """Let every batch norm use its running statistics and leave them alone; call after ``train()``."""
    for layer in _batch_norms(module):
        layer.eval()


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Leave running statistics alone inside the block: they describe real images, which evaluation sees."""
    layers = _batch_norms(module)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
