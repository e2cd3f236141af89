"""How clustering grows with the number of images: five sizes, fitted and drawn.

    python -m benchmarks.clustering_growth --picture docs/pictures/clustering_growth.svg --table growth.json

Search and labels are timed apart, in a process that has compiled everything before. ``--lists N`` also times the labels
of more images, whose neighbours come from inverted lists (of which search time says nothing about exact search).
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.clustering import draw_features
from reid_core.clustering.settings import LabelSettings
from reid_core.clustering.worker import ClusterWorker, InvertedListPlan

SIZES = (2000, 4000, 8000, 16_000, 32_000)
IMAGES_A_PERSON = 20


def times(worker: ClusterWorker, num_images: int, dimension: int, *, lists: bool = False) -> tuple[float, float]:
    """Return the seconds of search and of labels."""
    features = draw_features(num_images, num_images // IMAGES_A_PERSON, dimension)
    start = time.perf_counter()
    if lists:
        plan = InvertedListPlan("growth", worker.train_lists(features, round(2 * num_images**0.5)), 8)
        neighbours, _ = worker.search_lists(features, 0, num_images, 30, plan)
    else:
        neighbours, _ = worker.search(features, 0, num_images, 30)
    found = time.perf_counter()
    worker.label(features, neighbours, LabelSettings())
    return found - start, time.perf_counter() - found


def power(sizes: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Fit seconds = factor * size ** exponent; return factor and exponent."""
    exponent, offset = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return float(np.exp(offset)), float(exponent)


def draw(rows: list[dict[str, float]], target: Path) -> None:
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    sizes = np.array([row["num_images"] for row in rows])
    line = np.geomspace(sizes.min(), 3 * sizes.max(), 50)
    for name, colour, mark in (("search", "#283a5b", "o"), ("labels", "#c05020", "s")):
        seconds = np.array([row[name] for row in rows])
        factor, exponent = power(sizes, seconds)
        axes.plot(sizes, seconds, mark, color=colour, label=f"{name}: images to the power of {exponent:.2f}")
        axes.plot(line, factor * line**exponent, "-", color=colour, linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("images")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--lists", type=int, nargs="*", default=[], help="more images, labels only")
    arguments = parser.parse_args()
    worker = ClusterWorker()
    times(worker, 600, 16)
    rows = []
    for num_images in SIZES:
        search, labels = times(worker, num_images, arguments.dimension)
        rows.append({"num_images": num_images, "search": round(search, 3), "labels": round(labels, 3)})
        print(json.dumps(rows[-1]), flush=True)
    sizes = np.array(SIZES)
    for name in ("search", "labels"):
        factor, exponent = power(sizes, np.array([row[name] for row in rows]))
        print(f"{name}: {factor:.3g} s x images ^ {exponent:.2f}; one million: {factor * 1e6**exponent:.0f} s")
    for num_images in arguments.lists:
        print(num_images, [round(s, 2) for s in times(worker, num_images, 256, lists=True)], flush=True)
    if arguments.table:
        arguments.table.write_text(json.dumps({"num_cpus": os.cpu_count(), "rows": rows}, indent=1) + "\n")
    if arguments.picture:
        draw(rows, arguments.picture)


if __name__ == "__main__":
    main()
