"""Speed, memory and size of the mesh stage: images a second of each step, by workers, and what MSMT17 would take.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mesh [--folder PICTURES] [--height 128] [--out mesh.json]
Without a folder, people are rendered.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from infra.compute.processes import ProcessPool
from reid_core.data.datasets.tree import SUFFIXES
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import finish, plan_shards, render_shard
from reid_core.mesh.cache import CacheInfo, open_mesh_cache
from reid_core.mesh.estimate import estimate_bodies
from reid_core.mesh.extract import MeshShard, extract_shard
from reid_core.mesh.observe import observe, open_photograph
from reid_core.mesh.sources import EstimateSource, render_bodies
from stages.mesh import choose_topology

MSMT17 = 32_621
SHARD = 16  # images
CORES = (2, 16, 64)
CPU = torch.device("cpu")

Picture = NDArray[np.uint8]


class Steps(NamedTuple):
    """Milliseconds of processor time an image, so that programs running beside it count little."""

    decode: float
    mediapipe_alone: float
    observe: float
    estimate: float
    render: float

    @property
    def fit(self) -> float:
        """Time of estimation beyond looking."""
        return self.estimate - self.observe


@dataclass(frozen=True)
class Result:
    """Everything that was measured; times in seconds unless the name says otherwise."""

    images: int
    height: int
    topology: str
    statuses: dict[str, int]
    milliseconds: dict[str, float]
    estimate_over_mediapipe: float
    images_a_second: dict[int, float]
    start_of_a_worker: float
    peak_memory_mb: float
    bytes_an_image: float
    msmt17_minutes: dict[int, float]


class Extraction(NamedTuple):
    """Time and memory of one shard in its process."""

    seconds: float
    started: float
    ended: float
    peak_mb: float


def mediapipe_alone(pictures: Sequence[Picture]) -> float:
    """Processor seconds of MediaPipe's own solution, one call a picture, padded to 512 x 512, with the mask."""
    import mediapipe

    large = []
    for picture in pictures:
        height, width = picture.shape[:2]
        pad = int(0.2 * height)
        padded = np.pad(picture, ((pad, pad), (pad + (height - width) // 2,) * 2, (0, 0)), mode="edge")
        large.append(np.asarray(Image.fromarray(padded).resize((512, 512), Image.Resampling.BICUBIC)))
    pose = mediapipe.solutions.pose.Pose(
        static_image_mode=True, model_complexity=1, enable_segmentation=True, min_detection_confidence=0.2
    )
    pose.process(large[0])
    return timed(lambda: [pose.process(picture) for picture in large])


def timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure_steps(paths: Sequence[Path], size: tuple[int, int], topology: str) -> Steps:
    """Take the steps one by one, each after a warm-up."""
    torch.set_num_threads(1)
    opened = [open_photograph(path) for path in paths]
    pictures = [picture for picture in opened if picture is not None]
    bodies = estimate_bodies(pictures[:2], size=size, topology=topology, device=CPU, num_threads=1)
    render_bodies(bodies, topology, CPU, size)

    def estimate() -> None:
        nonlocal bodies
        bodies = estimate_bodies(pictures, size=size, topology=topology, device=CPU, num_threads=1)

    seconds = (
        timed(lambda: [open_photograph(path) for path in paths]),
        mediapipe_alone(pictures),
        timed(lambda: [observe(picture, num_threads=1) for picture in pictures]),
        timed(estimate),
        timed(lambda: render_bodies(bodies, topology, CPU, size)),
    )
    return Steps(*(1000 * each / len(pictures) for each in seconds))


def extraction(shard: MeshShard) -> Extraction:
    """Extract one shard, and tell what it took and how much memory its process has needed so far."""
    start = time.time()
    extract_shard(shard)
    end = time.time()
    return Extraction(end - start, start, end, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure_workers(shards: Sequence[MeshShard], workers: int) -> tuple[float, float, float]:
    """Return images a second of all workers together once they run, seconds until one runs, and its peak in MB."""
    before = time.time()
    with closing(ProcessPool(workers, threads=1)) as pool:
        done: list[Extraction] = pool.map(extraction, [(shard,) for shard in shards], on_result=lambda _: None)
    ordered = sorted(done, key=lambda one: one.ended)
    first = ordered[workers - 1].ended  # every worker has done one shard, and with it loaded everything
    later = [one for one in ordered if one.ended > first]
    rate = SHARD * len(later) / (ordered[-1].ended - first)
    start = ordered[0].ended - before - SHARD * workers / rate
    return rate, start, max(one.peak_mb for one in done)


def plan(paths: Sequence[Path], folder: Path, size: tuple[int, int], topology: str) -> list[MeshShard]:
    info = CacheInfo("benchmark", "benchmark", "estimate", topology, *size)
    return [
        MeshShard(
            path=folder / f"part-{start // SHARD:05d}.parquet",
            image_ids=tuple(f"train-{start + index:06d}" for index in range(len(paths[start : start + SHARD]))),
            images=tuple(paths[start : start + SHARD]),
            source=EstimateSource(topology),
            info=info,
            run="benchmark",
        )
        for start in range(0, len(paths), SHARD)
    ]


def measure(paths: Sequence[Path], height: int, folder: Path) -> Result:
    """Measure all of it on these pictures."""
    size, topology = (height, height // 2), choose_topology(height, "cpu")
    count = len(paths) // SHARD * SHARD
    paths = list(paths)[:count]
    steps = measure_steps(paths[: 4 * SHARD], size, topology)
    rates, start, peak = {}, 0.0, 0.0
    for workers in (1, 2):
        rate, start, memory = measure_workers(plan(paths, folder / str(workers), size, topology), workers)
        rates[workers], peak = rate, max(peak, memory)
    cache = open_mesh_cache(folder / "1")
    return Result(
        images=count,
        height=height,
        topology=topology,
        statuses=cache.statuses(),
        milliseconds={name: round(value, 1) for name, value in (steps._asdict() | {"fit": steps.fit}).items()},
        estimate_over_mediapipe=round(steps.estimate / steps.mediapipe_alone, 2),
        images_a_second={workers: round(rate, 2) for workers, rate in rates.items()},
        start_of_a_worker=round(start, 1),
        peak_memory_mb=round(peak),
        bytes_an_image=round(cache.num_bytes / len(cache)),
        # Shards do not wait for each other: by core as with two workers.
        msmt17_minutes={cores: round((start + MSMT17 / (rates[2] / 2 * cores)) / 60, 1) for cores in CORES},
    )


def show(result: Result) -> None:
    print(
        f"{result.images} images, maps of {result.height} x {result.height // 2}, {result.topology}: {result.statuses}"
    )
    for name, value in result.milliseconds.items():
        print(f"  {name:16} {value:7.1f} ms an image")
    print(f"  estimation with fit takes {result.estimate_over_mediapipe:.2f} x MediaPipe alone")
    for workers, rate in result.images_a_second.items():
        print(f"  {workers} workers: {rate:.2f} images a second")
    print(f"  a worker starts in {result.start_of_a_worker:.1f} s and needs {result.peak_memory_mb:.0f} MB at its peak")
    print(f"  {result.bytes_an_image:,.0f} bytes an image")
    for cores, minutes in result.msmt17_minutes.items():
        print(f"  {MSMT17:,} images on {cores} cores: {minutes:.0f} minutes")


def rendered(folder: Path) -> list[Path]:
    settings = SyntheticSettings(num_train_people=10, num_test_people=1, images_per_person=12)
    for shard in (shards := plan_shards(settings, folder)):
        render_shard(shard)
    finish(shards, folder)
    return sorted((folder / "images" / "bounding_box_train").iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="pictures of people; rendered ones without it")
    parser.add_argument("--height", type=int, default=128, help="of the maps, pixels")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given: Path | None = options.folder
        if given is None:
            paths = rendered(folder / "people")
        else:
            paths = sorted(path for path in given.rglob("*") if path.suffix.lower() in SUFFIXES)
        result = measure(paths, options.height, folder)
    show(result)
    if options.out is not None:
        options.out.write_text(json.dumps(asdict(result), indent=1) + "\n")


if __name__ == "__main__":
    main()
