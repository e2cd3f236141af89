"""Embeddings of many images: batches through an encoder in evaluation mode.

N: images, D: embedding size, H, W: image size.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.data.ahead import one_ahead
from reid_core.data.images import as_float, load_images


def embed(
    encoder: nn.Module,
    images: Tensor,
    *,
    batch_size: int,
    device: torch.device | str,
    flip: bool = False,
    mixed_precision: bool = False,
) -> Tensor:
    """Embed stored images; the mode of every module is as before afterwards, and no random number is drawn.

    Args:
        encoder: Returns an object with ``embedding`` (B, D) for floats (B, 3, H, W) in [-1, 1]; lies on ``device``.
        images: RGB bytes, (N, 3, H, W).
        batch_size: Images of one forward pass.
        device: Where the encoder lies.
        flip: Add the embedding of the mirrored image before normalising, as peers do that flip at test.
        mixed_precision: Compute in 16 bits where a GPU is faster so; ignored on a CPU.

    Returns:
        L2-normalised embeddings on the CPU, (N, D) float32.
    """
    assert len(images), "no image to embed"
    starts = range(0, len(images), batch_size)
    batches = (images[i : i + batch_size] for i in starts)
    return _embed_batches(encoder, batches, device, flip=flip, mixed_precision=mixed_precision)


def embed_files(
    encoder: nn.Module,
    paths: Sequence[Path],
    *,
    size: tuple[int, int],
    batch_size: int,
    device: torch.device | str,
    num_threads: int = 1,
    flip: bool = False,
    mixed_precision: bool = False,
) -> Tensor:
    """Embed picture files batch by batch, so that a data set larger than memory can be embedded.

    Args:
        encoder: As for ``embed``.
        paths: Picture files, N of them.
        size: Height and width in pixels.
        batch_size: Images of one forward pass.
        device: Where the encoder lies.
        num_threads: Pictures decoded at the same time; with more than one, while the batch before is embedded.
        flip: As for ``embed``.
        mixed_precision: As for ``embed``.

    Returns:
        L2-normalised embeddings on the CPU, (N, D) float32.
    """
    assert paths, "no image to embed"
    starts = range(0, len(paths), batch_size)
    batches = (load_images(paths[i : i + batch_size], size, num_threads=num_threads) for i in starts)
    ahead = one_ahead(batches) if num_threads > 1 else batches
    return _embed_batches(encoder, ahead, device, flip=flip, mixed_precision=mixed_precision)


def _embed_batches(
    encoder: nn.Module, batches: Iterable[Tensor], device: torch.device | str, *, flip: bool, mixed_precision: bool
) -> Tensor:
    on_gpu = torch.device(device).type == "cuda"
    lower = torch.autocast("cuda", dtype=torch.float16, enabled=mixed_precision and on_gpu)
    with _evaluating(encoder), torch.no_grad(), lower:
        return torch.cat([_forward(encoder, batch, device, flip=flip) for batch in batches])


def _forward(encoder: nn.Module, images: Tensor, device: torch.device | str, *, flip: bool) -> Tensor:
    floats = as_float(images.to(device))
    embedding = encoder(floats).embedding.float()
    if flip:
        embedding = embedding + encoder(floats.flip(-1)).embedding.float()
    return F.normalize(embedding, dim=1).cpu()


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
