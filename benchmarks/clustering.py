"""Pseudo labels at scale: time and memory from features to labels, beside the neighbours alone and the dense way.

    python -m benchmarks.clustering compare --num-images 12936 --num-people 751 --dense
    python -m benchmarks.clustering compare --num-images 32621 --num-people 1041
    python -m benchmarks.clustering one --way ivf --num-images 200000 --num-people 5000 --dimension 512 --once
    python -m benchmarks.clustering one --way ours --num-workers 2

Market-1501 has 12,936 training images of 751 people, MSMT17 32,621 of 1,041. The features are drawn around random
people. Every way runs in a process of its own, after a small case has compiled and loaded what it uses: that is not
timed. Memory is that of the process and its workers (proportional set size): how far it grew above the loaded libraries
and the features, and its peak less the features.
"""

import argparse
import atexit
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

WAYS = ("neighbours", "ours", "dense", "ivf")
_SECONDS_BETWEEN_LOOKS = 0.05


NUM_TIMED = 2


def draw_features(
    num_images: int, num_people: int, dimension: int, *, num_traits: int | None = None, seed: int = 0
) -> np.ndarray:
    """Return L2-normalised features (N, D) float32: people apart from each other, their images close by.

    With ``num_traits`` people differ in so many directions only, as real ones do, so that everybody has people who look
    alike. Without, all strangers are equally far, which no approximate search can shorten.
    """
    generator = np.random.default_rng(seed)
    if num_traits is None:
        centres = generator.standard_normal(size=(num_people, dimension), dtype=np.float32)
    else:
        traits = generator.standard_normal(size=(num_traits, dimension), dtype=np.float32)
        centres = generator.standard_normal(size=(num_people, num_traits), dtype=np.float32) @ traits
        centres /= np.float32(num_traits**0.5)
    features: np.ndarray = generator.standard_normal(size=(num_images, dimension), dtype=np.float32)
    features *= 1.2
    for start in range(0, num_images, 4096):  # in blocks, so that drawing needs no more memory than clustering
        features[start : start + 4096] += centres[
            generator.integers(num_people, size=len(features[start : start + 4096]))
        ]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features


class PeakMemory:
    """Largest memory of this process and its children while the block runs, in bytes."""

    def __init__(self) -> None:
        self.before = self.bytes = _of_family()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look while the block runs."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(_SECONDS_BETWEEN_LOOKS):
                self.bytes = max(self.bytes, _of_family())

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _of_family() -> int:
    me = psutil.Process()
    return sum(_memory(process) for process in [me, *me.children(recursive=True)])


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _neighbours(num_threads: int, num_workers: int) -> Callable[[np.ndarray], np.ndarray]:
    """The floor: FAISS's own flat search for 30 neighbours, nothing else."""
    from reid_core.clustering import faiss_search

    faiss_search.set_num_threads(num_threads)
    return lambda features: faiss_search.nearest(features, features, 30)[1]


def _dense(num_threads: int, num_workers: int) -> Callable[[np.ndarray], np.ndarray]:
    from benchmarks.dense_clustering import dense_labels
    from reid_core.clustering import faiss_search

    faiss_search.set_num_threads(num_threads)

    def label(features: np.ndarray) -> np.ndarray:
        neighbours = faiss_search.nearest(features, features, 30)[1].astype(np.int32)
        return dense_labels(features, neighbours, k1=30, k2=6, eps=0.55, min_samples=4)

    return label


def _pipeline(neighbours: str) -> Callable[[int, int], Callable[[np.ndarray], np.ndarray]]:
    """What the stages run: the pool of workers, search, labels."""

    def prepare(num_threads: int, num_workers: int) -> Callable[[np.ndarray], np.ndarray]:
        from infra.compute.local import LocalCompute
        from stages.training.clustering import ClusterConfig, pseudo_labels, start_cluster_workers

        compute = LocalCompute(num_cpus=num_threads)
        config = ClusterConfig(neighbours="ivf" if neighbours == "ivf" else "exact", num_workers=num_workers)
        workers = start_cluster_workers(compute, config)
        atexit.register(compute.close)  # which also keeps the pool until then

        def label(features: np.ndarray) -> np.ndarray:
            found = pseudo_labels(features, workers, config)
            if found.recall is not None:
                print(json.dumps({"recall": round(found.recall, 4)}), file=sys.stderr)
            return found.labels

        return label

    return prepare


def _timed(
    label: Callable[[np.ndarray], np.ndarray], features: np.ndarray, best: float = math.inf
) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    labels = label(features)
    return min(best, time.perf_counter() - start), labels


def run_one(arguments: argparse.Namespace) -> dict[str, float | str]:
    """Time one way in this process."""
    num_threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))
    prepare = {"neighbours": _neighbours, "ours": _pipeline("exact"), "dense": _dense, "ivf": _pipeline("ivf")}
    label = prepare[arguments.way](num_threads, arguments.num_workers)
    for _ in range(2 * arguments.num_workers):  # compiles in every worker, so that it is not timed
        label(draw_features(600, 40, 16))
    features = draw_features(
        arguments.num_images, arguments.num_people, arguments.dimension, num_traits=arguments.num_traits
    )
    seconds = math.inf
    for _ in range(0 if arguments.once else NUM_TIMED):  # the better one: what else runs on the machine only ever adds
        seconds, labels = _timed(label, features, best=seconds)
    peak = PeakMemory()
    with peak.watched():  # apart where it can be, because watching takes time
        watched_seconds, labels = _timed(label, features)
    if arguments.labels:
        np.save(arguments.labels, labels)
    return {
        "way": arguments.way,
        "num_images": len(features),
        "dimension": features.shape[1],
        "num_workers": arguments.num_workers,
        "num_threads": num_threads,
        "seconds": round(watched_seconds if arguments.once else seconds, 2),
        "gb_grown": round((peak.bytes - peak.before) / 1e9, 2),
        "gb_above_features": round((peak.bytes - features.nbytes) / 1e9, 2),
    } | ({} if arguments.way == "neighbours" else {"num_clusters": int(labels.max()) + 1})


def compare(arguments: argparse.Namespace) -> None:
    """Time the ways one after the other, each in a process of its own, and print how they compare."""
    rows, labels = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for way in [*WAYS[:2], *(["dense"] if arguments.dense else [])]:
            target = Path(folder) / f"{way}.npy"
            command = [sys.executable, "-m", "benchmarks.clustering", "one", "--way", way, "--labels", str(target)]
            for name in ("num_images", "num_people", "dimension", "num_traits"):
                if (value := getattr(arguments, name)) is not None:
                    command += [f"--{name.replace('_', '-')}", str(value)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows[way], labels[way] = json.loads(done.stdout), np.load(target)
            print(json.dumps(rows[way]), flush=True)
    ours = rows["ours"]
    print(f"ours / neighbours alone: {ours['seconds'] / rows['neighbours']['seconds']:.3f} in time")
    if dense := rows.get("dense"):
        print(f"dense / ours: {dense['seconds'] / ours['seconds']:.1f} in time", end=", ")
        print(f"{dense['gb_grown'] / ours['gb_grown']:.1f} in memory", end=", ")
        print(f"{int((labels['dense'] != labels['ours']).sum())} labels differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("compare", "one"))
    parser.add_argument("--way", choices=WAYS, default="ours")
    parser.add_argument("--num-images", type=int, default=12_936)
    parser.add_argument("--num-people", type=int, default=751)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--num-traits", type=int, help="directions in which people differ; all when left out")
    parser.add_argument("--num-workers", type=int, default=1)
    parser.add_argument("--dense", action="store_true", help="compare with the dense way too (14 GB for MSMT17)")
    parser.add_argument("--once", action="store_true", help="one pass, timed and watched: for those of many minutes")
    parser.add_argument("--labels", type=Path, help="where to write the labels")
    arguments = parser.parse_args()
    if arguments.command == "compare":
        compare(arguments)
    else:
        print(json.dumps(run_one(arguments)))


if __name__ == "__main__":
    main()
