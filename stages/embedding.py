"""Embedding many picture files with trained weights, spread over the machine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np

from infra.compute.protocol import Compute

_SHARD = 512  # images; fixed, so that the result does not depend on the number of workers
_BATCH = 128


class Embedded(NamedTuple):
    """Embeddings of the files that could be read.

    Attributes:
        features: L2-normalised, (M, D) float32; (0, 0) when nothing could be read.
        indices: Position of each among the files, (M,) int64, rising.
        problems: Position of every other file, and why it was passed over.
    """

    features: np.ndarray
    indices: np.ndarray
    problems: dict[int, str]


class _Resources(TypedDict):
    sizes: list[int]
    cpus: float
    gpus: float


@dataclass(frozen=True)
class _Shard:
    weights: Path
    paths: tuple[Path, ...]
    size: tuple[int, int]
    on_gpu: bool
    num_threads: int
    flip: bool
    mixed_precision: bool


def embed_images(
    weights: Path,
    paths: Sequence[Path],
    size: tuple[int, int],
    compute: Compute,
    *,
    description: str,
    flip: bool = False,
    mixed_precision: bool = False,
) -> np.ndarray:
    """Embed picture files that are known to be readable.

    Args:
        weights: Identity encoder as a training stage wrote it.
        paths: Picture files, N of them.
        size: Height and width in pixels.
        compute: Runs the shards, on GPUs where there are any.
        description: Shown beside the progress bar.
        flip: Add the embeddings of the mirrored images.
        mixed_precision: Compute in 16 bits on GPUs.

    Returns:
        L2-normalised embeddings, (N, D) float32.
    """
    shards = _shards(weights, paths, size, compute, flip=flip, mixed_precision=mixed_precision)
    blocks = compute.map_shards(_embed_shard, shards, description=description, **_resources(shards, compute))
    return np.concatenate(blocks)


def embed_readable(
    weights: Path,
    paths: Sequence[Path],
    size: tuple[int, int],
    compute: Compute,
    *,
    description: str,
    flip: bool = False,
    mixed_precision: bool = False,
) -> Embedded:
    """Embed picture files of any origin: those that cannot be read are passed over.

    Args:
        weights: As for ``embed_images``.
        paths: Picture files.
        size: Height and width in pixels.
        compute: As for ``embed_images``.
        description: Shown beside the progress bar.
        flip: As for ``embed_images``.
        mixed_precision: As for ``embed_images``.

    Returns:
        Embeddings of the others, and what was wrong with these.
    """
    shards = _shards(weights, paths, size, compute, flip=flip, mixed_precision=mixed_precision)
    results = compute.map_shards(_embed_readable_shard, shards, description=description, **_resources(shards, compute))
    blocks: list[np.ndarray] = []
    indices: list[np.ndarray] = []
    problems: dict[int, str] = {}
    for shard, (features, readable, problem_of) in enumerate(results):
        if len(readable):
            blocks.append(features)
        indices.append(shard * _SHARD + readable)
        problems |= {shard * _SHARD + index: problem for index, problem in problem_of.items()}
    features = np.concatenate(blocks) if blocks else np.empty((0, 0), np.float32)
    return Embedded(features, np.concatenate(indices), problems)


def _shards(
    weights: Path, paths: Sequence[Path], size: tuple[int, int], compute: Compute, *, flip: bool, mixed_precision: bool
) -> list[_Shard]:
    on_gpu = compute.num_gpus > 0
    threads = _cpus(compute)
    blocks = [tuple(paths[start : start + _SHARD]) for start in range(0, len(paths), _SHARD)]
    return [_Shard(weights, block, size, on_gpu, threads, flip, mixed_precision) for block in blocks]


def _cpus(compute: Compute) -> int:
    """One CPU a shard; on a GPU, its share of the CPUs, to decode as fast as it embeds."""
    return max(1, compute.num_cpus // compute.num_gpus) if compute.num_gpus else 1


def _resources(shards: Sequence[_Shard], compute: Compute) -> _Resources:
    return {
        "sizes": [len(shard.paths) for shard in shards],
        "cpus": _cpus(compute),
        "gpus": 1 if compute.num_gpus else 0,
    }


def _embed_shard(shard: _Shard) -> np.ndarray:
    # Imported here: the driver names this function without loading torch's networks.
    from reid_core.evaluation.embed import embed_files
    from reid_core.models.weights import load_identity

    device = "cuda" if shard.on_gpu else "cpu"
    features = embed_files(
        load_identity(shard.weights).to(device),
        shard.paths,
        size=shard.size,
        batch_size=_BATCH,
        device=device,
        num_threads=shard.num_threads,
        flip=shard.flip,
        mixed_precision=shard.mixed_precision,
    )
    result: np.ndarray = features.numpy()
    return result


def _embed_readable_shard(shard: _Shard) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    from reid_core.data.images import verify_image

    verdicts = [verify_image(path) for path in shard.paths]
    problems = {index: verdict.problem for index, verdict in enumerate(verdicts) if verdict.problem}
    readable = np.array([index for index in range(len(verdicts)) if index not in problems], dtype=np.int64)
    if not len(readable):
        return np.empty((0, 0), np.float32), readable, problems
    paths = tuple(shard.paths[index] for index in readable)
    return _embed_shard(replace(shard, paths=paths)), readable, problems
