"""Random guidance maps out of a mesh cache, by three ways of keeping them: time to open, time an image, memory.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mesh_cache [--images 4096] [--height 128]
Two maps an image, as a batch of joint training wants them. Processor time, so that programs beside it count little.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import torch
from torch import Tensor

from reid_core.mesh.body import Bodies, load_body, no_bodies
from reid_core.mesh.cache import PICTURES, CacheInfo, open_mesh_cache, write_shard
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import guidance_maps

SHARD, BATCH, RENDERED = 64, 16, 96
Read = Callable[[int, str], object]  # an image's row and a column: its unturned map and that one


def rendered_maps(size: tuple[int, int]) -> Tensor:
    """Maps of a few people, uint8, shape (96, 8, H, W)."""
    random = torch.Generator().manual_seed(0)
    body = load_body("notoes_collapse5pc")
    posed = 15 * torch.randn(RENDERED, 10, 3, generator=random)
    vertices = body.vertices(torch.rand(RENDERED, 6, generator=random), posed)
    azimuth = 360 * torch.rand(RENDERED, generator=random)
    cameras = Cameras(azimuth, *(torch.full((RENDERED,), value) for value in (6.0, 0.95, 0.52, 0.5, 0.5)))
    return guidance_maps(vertices, body, cameras, size=size)


def write_cache(folder: Path, maps: Tensor, count: int) -> None:
    """Write shards of other choices of the same people each."""
    info = CacheInfo("benchmark", "benchmark", "truth", "notoes_collapse5pc", *maps.shape[2:])
    for first in range(0, count, SHARD):
        chosen = torch.randperm(RENDERED, generator=torch.Generator().manual_seed(first))[:SHARD]
        bodies: Bodies = replace(no_bodies(["ok"] * SHARD), masks=maps[chosen, 0])
        names = [f"train-{first + index:06d}" for index in range(SHARD)]
        write_shard(folder / f"part-{first // SHARD:05d}.parquet", names, bodies, maps[chosen], info)


def parquet(folder: Path) -> Read:
    cache = open_mesh_cache(folder)
    names = cache.image_ids
    return lambda row, column: cache.guidance([names[row]], [0, int(column[-3:])])


def arrow_file(folder: Path) -> Read:
    """Unpack everything once into Arrow files of this process, and map these."""
    tables = []
    with tempfile.TemporaryDirectory() as name:
        for path in sorted(folder.glob("part-*")):
            table = pq.read_table(path, columns=list(PICTURES), use_threads=False)
            copy = Path(name) / path.name
            with pa.ipc.new_file(str(copy), table.schema) as file:
                file.write_table(table)
            tables.append(pa.ipc.open_file(pa.memory_map(str(copy))).read_all())

    def read(row: int, column: str) -> object:
        table = tables[row // SHARD]
        return [np.array(np.frombuffer(table[each][row % SHARD].as_buffer())) for each in (PICTURES[1], column)]

    return read


def dataset(folder: Path) -> Read:
    files = ds.dataset(sorted(str(path) for path in folder.glob("part-*")))
    return lambda row, column: files.take([row], columns=[PICTURES[1], column], use_threads=False)


def memory_mb() -> dict[str, int]:
    """Memory of this process: its own, and mapped files."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {line[0][3:-1]: int(line[1]) // 1024 for line in lines if line[0] in ("RssAnon:", "RssFile:")}


def measure(way: Callable[[Path], Read], folder: Path, count: int, batches: int) -> None:
    """Open a cache and read random images; prints a row."""
    before, start = memory_mb(), time.process_time()
    read = way(folder)
    opened, random, times = time.process_time() - start, np.random.default_rng(0), []
    for _ in range(batches):
        rows, columns = random.integers(0, count, BATCH).tolist(), random.integers(2, len(PICTURES), BATCH).tolist()
        start = time.process_time()
        for row, column in zip(rows, columns, strict=True):
            read(row, PICTURES[column])
        times.append((time.process_time() - start) / BATCH)
    grown = {name: value - before[name] for name, value in memory_mb().items()}
    print(
        f"{way.__name__:12} opens in {1000 * opened:6.0f} ms, {1e6 * float(np.median(times)):8.0f} us an image, "
        f"own memory +{grown['Anon']} MB, mapped +{grown['File']} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--height", type=int, default=128, help="of the maps, pixels")
    options = parser.parse_args()
    count = options.images // SHARD * SHARD
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cache(folder, rendered_maps((options.height, options.height // 2)), count)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{count} images, maps of {options.height} x {options.height // 2}: {size / count:,.0f} bytes an image")
        for way, batches in ((parquet, 100), (arrow_file, 100), (dataset, 4)):
            process = multiprocessing.get_context("spawn").Process(target=measure, args=(way, folder, count, batches))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
