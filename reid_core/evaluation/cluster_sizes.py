"""Histogram of cluster sizes: whether pseudo labels split people or pile them up, at a glance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

_INK = "#283a5b"


def size_bins(sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """Count clusters by size, in bins that double: 1, 2, 3-4, 5-8, 9-16, and so on.

    Args:
        sizes: Images of each cluster, at least 1.

    Returns:
        Smallest size, largest size and number of clusters of every bin up to the largest cluster's.
    """
    bins, low, high = [], 1, 1
    counted = np.asarray(sizes, dtype=np.int64)
    while low <= counted.max(initial=0):
        bins.append((low, high, int(((counted >= low) & (counted <= high)).sum())))
        low, high = high + 1, 2 * high
    return bins


def draw_sizes(sizes: Sequence[int], num_outliers: int, target: Path) -> None:
    """Draw the histogram as a picture.

    Args:
        sizes: Images of each cluster, at least 1.
        num_outliers: Images without a cluster; named in the title.
        target: PNG file to write.
    """
    bins = size_bins(sizes)
    figure = Figure(figsize=(6, 3), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    names = [str(low) if low == high else f"{low}-{high}" for low, high, _ in bins]
    bars = axes.bar(range(len(bins)), [count for _, _, count in bins], color=_INK)
    axes.bar_label(bars)
    axes.set_xticks(range(len(bins)), names)
    axes.set_xlabel("images of a cluster")
    axes.set_ylabel("clusters")
    axes.set_title(f"{len(sizes)} clusters of {sum(sizes)} images, {num_outliers} outliers", fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(target)
