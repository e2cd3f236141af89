"""Time and memory of a retrieval's evaluation, beside the matrix product alone and the usual way of sorting everything.

    .venv/bin/python benchmarks/evaluation.py                                             # the size of Market-1501
    .venv/bin/python benchmarks/evaluation.py --num-queries 11659 --num-gallery 82161 --num-people 3060 \
        --num-cameras 15 --repeats 1 --ways product streamed                              # the size of MSMT17

Every way runs in a process of its own, one after the other, ``--repeats`` times, and the fastest counts. Memory is the
peak above what the process held with the features in place. OMP_NUM_THREADS bounds the threads.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from reid_core.evaluation.ranking import Side, cosine_blocks, evaluate_ranking

_BLOCK = 1024  # images drawn at once, so that drawing does not set the peak


def draw_side(num: int, num_people: int, num_cameras: int, dimension: int, *, seed: int) -> Side:
    """Return images around people; noise such that mAP is that of a good encoder, about 60 %."""
    people_generator = torch.Generator().manual_seed(0)
    centres = torch.randn(num_people, dimension, generator=people_generator)
    generator = torch.Generator().manual_seed(seed)
    people = torch.randint(num_people, (num,), generator=generator)
    features = torch.empty(num, dimension)
    for start in range(0, num, _BLOCK):
        rows = people[start : start + _BLOCK]
        # Some images are harder than others, so that every query has matches near and far.
        noise = 1 + 5 * torch.rand(len(rows), 1, generator=generator)
        drawn = centres[rows] + noise * torch.randn(len(rows), dimension, generator=generator)
        features[start : start + _BLOCK] = torch.nn.functional.normalize(drawn, dim=1)
    return Side(features, people, torch.randint(num_cameras, (num,), generator=generator))


def product(query: Side, gallery: Side) -> dict[str, float]:
    """The matrix product alone, whole where it is small, else in the same blocks."""
    if len(query.people) * len(gallery.people) < 100_000_000:
        return {"checksum": float((query.features @ gallery.features.T)[-1, -1])}
    return {"checksum": [float(block[-1, -1]) for block in cosine_blocks(query.features, gallery.features)][-1]}


def streamed(query: Side, gallery: Side) -> dict[str, float]:
    """What genvar does."""
    found = evaluate_ranking(query, gallery)
    return {"mAP": 100 * found.mean_ap, "rank1": 100 * found.cmc[1], "mINP": 100 * found.mean_inp}


def sorted_vectorised(query: Side, gallery: Side) -> dict[str, float]:
    """Sort the whole distance matrix, then score query by query, as fast as NumPy can."""
    precisions, firsts, inverse = [], [], []
    for hits in _sorted_hits(query, gallery):
        ranks = np.flatnonzero(hits)
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        precisions.append((precision * hits).sum() / len(ranks))
        firsts.append(ranks[0])
        inverse.append(len(ranks) / (ranks[-1] + 1))
    return _percent(precisions, firsts, inverse)


def sorted_scikit_learn(query: Side, gallery: Side) -> dict[str, float]:
    """Sort the whole distance matrix, then ask scikit-learn for each query: usual among the unsupervised peers."""
    similarity = (query.features @ gallery.features.T).numpy()
    people, cameras = gallery.people.numpy(), gallery.cameras.numpy()
    order = np.argsort(-similarity, axis=1)
    precisions, firsts = [], []
    for row in range(len(order)):
        kept = (people[order[row]] != int(query.people[row])) | (cameras[order[row]] != int(query.cameras[row]))
        is_match = (people[order[row]] == int(query.people[row]))[kept]
        if is_match.any():
            precisions.append(average_precision_score(is_match, similarity[row][order[row]][kept]))
            firsts.append(np.flatnonzero(is_match)[0])
    return _percent(precisions, firsts, [])


def sorted_python(query: Side, gallery: Side) -> dict[str, float]:
    """Sort the whole distance matrix, then divide rank by rank in Python: usual where no extension was compiled."""
    precisions, firsts, inverse = [], [], []
    for hits in _sorted_hits(query, gallery):
        counts = hits.cumsum()
        precision = np.asarray([count / (rank + 1.0) for rank, count in enumerate(counts)]) * hits
        precisions.append(precision.sum() / hits.sum())
        ranks = np.flatnonzero(hits)
        firsts.append(ranks[0])
        inverse.append(len(ranks) / (ranks[-1] + 1))
    return _percent(precisions, firsts, inverse)


def _sorted_hits(query: Side, gallery: Side) -> Iterator[np.ndarray]:
    order = np.argsort(-(query.features @ gallery.features.T).numpy(), axis=1)
    people, cameras = gallery.people.numpy(), gallery.cameras.numpy()
    matches = (people[order] == query.people.numpy()[:, None]).astype(np.int32)
    for row in range(len(order)):
        left_out = (people[order[row]] == int(query.people[row])) & (cameras[order[row]] == int(query.cameras[row]))
        hits = matches[row][~left_out]
        if hits.any():
            yield hits


def _percent(precisions: list[float], firsts: list[int], inverse: list[float]) -> dict[str, float]:
    found = {"mAP": np.mean(precisions), "rank1": np.mean(np.array(firsts) == 0)}
    if inverse:
        found["mINP"] = np.mean(inverse)
    return {name: 100 * float(value) for name, value in found.items()}


WAYS: dict[str, Callable[[Side, Side], dict[str, float]]] = {
    "product": product,
    "streamed": streamed,
    "sorted-vectorised": sorted_vectorised,
    "sorted-scikit-learn": sorted_scikit_learn,
    "sorted-python": sorted_python,
}


def measure(way: str, arguments: argparse.Namespace) -> None:
    """Run one way and print what it took."""
    shape = (arguments.num_people, arguments.num_cameras, arguments.dimension)
    query = draw_side(arguments.num_queries, *shape, seed=1)
    gallery = draw_side(arguments.num_gallery, *shape, seed=2)
    small = [Side(*(column[:500] for column in side)) for side in (query, gallery)]
    WAYS[way](*small)  # compiles and starts threads, so that neither is timed
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    held = _memory("VmRSS")
    start, start_cpu = time.perf_counter(), time.process_time()
    found = WAYS[way](query, gallery)
    took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - start_cpu}
    print(json.dumps({"way": way, **took, "memory_gb": (_memory("VmHWM") - held) / 1e6, **found}))


def _memory(name: str) -> int:
    """Return an entry of this process's status in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-queries", type=int, default=3_368)
    parser.add_argument("--num-gallery", type=int, default=15_913)
    parser.add_argument("--num-people", type=int, default=750)
    parser.add_argument("--num-cameras", type=int, default=6)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--only", choices=list(WAYS), help="measure one way in this process")
    arguments = parser.parse_args()
    if arguments.only:
        measure(arguments.only, arguments)
        return
    best: dict[str, dict[str, float]] = {}
    for _ in range(arguments.repeats):
        for way in arguments.ways:
            command = [sys.executable, __file__, *sys.argv[1:], "--only", way]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            if way not in best or found["seconds"] < best[way]["seconds"]:
                best[way] = found
    for way, found in best.items():
        ratios = [found[name] / best.get("product", found)[name] for name in ("seconds", "cpu_seconds")]
        measures = "  ".join(f"{name} {found[name]:.3f}" for name in ("mAP", "rank1", "mINP") if name in found)
        times = f"{found['seconds']:8.2f} s {ratios[0]:6.2f} x   CPU {found['cpu_seconds']:8.2f} s {ratios[1]:6.2f} x"
        print(f"{way:20} {times}   {found['memory_gb']:5.2f} GB  {measures}")


if __name__ == "__main__":
    main()
