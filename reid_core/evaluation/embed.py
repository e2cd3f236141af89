"""Embeddings of many images: batches through an encoder in evaluation mode.

N: images, D: embedding size, H, W: image size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.data.images import as_float, load_images


def embed(encoder: nn.Module, images: Tensor, *, batch_size: int, device: torch.device | str) -> Tensor:
    """Embed stored images; the mode of every module is as before afterwards, and no random number is drawn.

    Args:
        encoder: Returns an object with ``embedding`` (B, D) for floats (B, 3, H, W) in [-1, 1]; lies on ``device``.
        images: RGB bytes, (N, 3, H, W).
        batch_size: Images of one forward pass.
        device: Where the encoder lies.

    Returns:
        L2-normalised embeddings on the CPU, (N, D) float32.
    """
    assert len(images), "no image to embed"
    with _evaluating(encoder), torch.no_grad():
        starts = range(0, len(images), batch_size)
        return torch.cat([_forward(encoder, images[i : i + batch_size], device) for i in starts])


def embed_files(
    encoder: nn.Module,
    paths: Sequence[Path],
    *,
    size: tuple[int, int],
    batch_size: int,
    device: torch.device | str,
    num_threads: int = 1,
) -> Tensor:
    """Embed picture files batch by batch, so that a data set larger than memory can be embedded.

    Args:
        encoder: As for ``embed``.
        paths: Picture files, N of them.
        size: Height and width in pixels.
        batch_size: Images of one forward pass.
        device: Where the encoder lies.
        num_threads: Pictures decoded at the same time.

    Returns:
        L2-normalised embeddings on the CPU, (N, D) float32.
    """
    assert paths, "no image to embed"
    starts = range(0, len(paths), batch_size)
    with _evaluating(encoder), torch.no_grad():
        return torch.cat(
            [
                _forward(encoder, load_images(paths[i : i + batch_size], size, num_threads=num_threads), device)
                for i in starts
            ]
        )


def _forward(encoder: nn.Module, images: Tensor, device: torch.device | str) -> Tensor:
    embedding = encoder(as_float(images.to(device))).embedding
    return F.normalize(embedding.float(), dim=1).cpu()


@contextmanager
def _evaluating(encoder: nn.Module) -> Iterator[None]:
    # Module by module: an encoder in training may hold frozen parts that are in evaluation mode already.
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
