"""Embedding many picture files with trained weights, spread over the machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.compute.protocol import Compute

_SHARD = 512  # images; fixed, so that the result does not depend on the number of workers
_BATCH = 128


@dataclass(frozen=True)
class _Shard:
    weights: Path
    paths: tuple[Path, ...]
    size: tuple[int, int]
    on_gpu: bool


def embed_images(
    weights: Path, paths: Sequence[Path], size: tuple[int, int], compute: Compute, *, description: str
) -> np.ndarray:
    """Embed picture files.

    Args:
        weights: Identity encoder as a training stage wrote it.
        paths: Picture files, N of them.
        size: Height and width in pixels.
        compute: Runs the shards, on GPUs where there are any.
        description: Shown beside the progress bar.

    Returns:
        L2-normalised embeddings, (N, D) float32.
    """
    on_gpu = compute.num_gpus > 0
    shards = [
        _Shard(weights, tuple(paths[start : start + _SHARD]), size, on_gpu) for start in range(0, len(paths), _SHARD)
    ]
    blocks = compute.map_shards(
        _embed_shard,
        shards,
        description=description,
        sizes=[len(shard.paths) for shard in shards],
        gpus=1 if on_gpu else 0,
    )
    return np.concatenate(blocks)


def _embed_shard(shard: _Shard) -> np.ndarray:
    # Imported here: the driver names this function without loading torch's networks.
    from reid_core.evaluation.embed import embed_files
    from reid_core.models.weights import load_identity

    device = "cuda" if shard.on_gpu else "cpu"
    encoder = load_identity(shard.weights).to(device)
    features = embed_files(encoder, shard.paths, size=shard.size, batch_size=_BATCH, device=device)
    result: np.ndarray = features.numpy()
    return result
