"""One shard of the mesh cache: image files in, a Parquet file out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from reid_core.mesh.cache import CacheInfo, is_whole, write_shard
from reid_core.mesh.crash_guard import call_guarded
from reid_core.mesh.sources import Extracted, Source, put_back


@dataclass(frozen=True)
class MeshShard:
    """A few images to extract; a unit of work that can be sent to another process.

    Attributes:
        path: Shard of the cache to write.
        image_ids: B names.
        images: B files.
        source: Where the bodies come from.
        info: Origin of the cache.
        run: Name of the command that does it.
    """

    path: Path
    image_ids: tuple[str, ...]
    images: tuple[Path, ...]
    source: Source
    info: CacheInfo
    run: str


def extract_shard(shard: MeshShard) -> bool:
    """Write a shard of the mesh cache, unless it is there already; returns whether it was.

    An image that ends the process is skipped on a later attempt (see ``crash_guard``), with the status ``failed``.
    """
    if is_whole(shard.path, shard.image_ids, shard.info.digest):
        return True
    files = dict(zip(shard.image_ids, shard.images, strict=True))
    size = (shard.info.height, shard.info.width)

    def extract(image_ids: Sequence[str]) -> Extracted:
        return shard.source([files[name] for name in image_ids], size=size, num_threads=1)

    with _one_thread():
        result, skipped, note = call_guarded(
            extract, shard.image_ids, shard.path.with_suffix(".note"), key=shard.info.digest, run=shard.run
        )
    known = torch.tensor([name not in skipped for name in shard.image_ids], dtype=torch.bool)
    bodies, maps = put_back(result, known, "failed")
    write_shard(shard.path, shard.image_ids, bodies, maps, shard.info)
    note.forget()
    return False


@contextmanager
def _one_thread() -> Iterator[None]:
    """Rounding, and with it every byte of the cache, must not depend on how many cores a machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
