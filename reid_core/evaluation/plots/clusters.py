"""Clusters for the eye: those to look at, chosen without any identity, and the histogram of their sizes.

N: images, D: feature size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

_INK = "#283a5b"


class ClusterView(NamedTuple):
    """One cluster to look at.

    Attributes:
        label: Its pseudo label.
        size: Its number of images.
        spread: Mean cosine distance of its images to their mean direction.
        members: Images to show, spread over the cluster from its centre to its edge.
    """

    label: int
    size: int
    spread: float
    members: np.ndarray


def describe_clusters(features: np.ndarray, labels: np.ndarray, *, num_shown: int) -> list[ClusterView]:
    """Describe every cluster.

    Args:
        features: L2-normalised features, (N, D) float32.
        labels: Cluster from 0, or -1 for an outlier, (N,).
        num_shown: Most images to show of one.

    Returns:
        One view a cluster, in the order of the labels.
    """
    order = np.argsort(labels, kind="stable")
    order = order[np.searchsorted(labels[order], 0) :]
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []
    return [_view(features, group, int(labels[group[0]]), num_shown) for group in groups]


def largest(views: list[ClusterView], num_clusters: int) -> list[ClusterView]:
    """Return the clusters with most images, largest first."""
    return sorted(views, key=lambda view: (-view.size, view.label))[:num_clusters]


def most_mixed(views: list[ClusterView], num_clusters: int) -> list[ClusterView]:
    """Return the clusters whose images differ most, widest spread first: they are likely to hold several people."""
    return sorted(views, key=lambda view: (-view.spread, view.label))[:num_clusters]


def outliers(labels: np.ndarray, num_rows: int, num_columns: int) -> list[ClusterView]:
    """Return rows of outliers to show, spread over the data.

    Args:
        labels: Cluster from 0, or -1 for an outlier, (N,).
        num_rows: Most rows.
        num_columns: Images of a row.

    Returns:
        Views with label -1; none when there is no outlier.
    """
    indices = np.flatnonzero(labels < 0)
    spread = indices[:: max(1, len(indices) // (num_rows * num_columns))][: num_rows * num_columns]
    starts = range(0, len(spread), num_columns)
    return [ClusterView(-1, len(indices), 0.0, spread[start : start + num_columns]) for start in starts]


def _view(features: np.ndarray, group: np.ndarray, label: int, num_shown: int) -> ClusterView:
    centre = features[group].mean(axis=0)
    centre /= max(float(np.linalg.norm(centre)), 1e-12)
    distance = 1.0 - features[group] @ centre
    by_distance = group[np.argsort(distance, kind="stable")]
    places = np.linspace(0, len(group) - 1, min(num_shown, len(group))).round().astype(np.int64)
    return ClusterView(label, len(group), float(distance.mean()), by_distance[places])


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
