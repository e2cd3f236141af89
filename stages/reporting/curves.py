"""Curves over the epochs as inline SVG whose colours follow the page, light or dark."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Colours that matplotlib writes into the SVG and the page's style sheet takes over.
INK, GRID = "#010203", "#010204"
SERIES = tuple(f"#0102{number}" for number in range(11, 19))
COLOURS = {INK: "var(--muted)", GRID: "var(--line)"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES, start=1)
}

# Measurements that are read together; every other one has a picture of its own.
TOGETHER = (
    ("Retrieval while training, %", ("mAP", "rank1")),
    ("Clusters and outliers", ("num_clusters", "num_outliers", "num_dropped")),
    ("Sizes of clusters, images", ("largest_cluster", "median_cluster")),
    ("Labels without truth", ("agreement_previous", "agreement_previous_nmi", "silhouette")),
    ("Labels against truth", ("ari", "nmi", "purity")),
)
TITLES = {
    "images_per_second": "Speed, images a second",
    "num_clusters": "clusters",
    "num_outliers": "outliers",
    "num_dropped": "dropped by a constraint",
    "largest_cluster": "largest",
    "median_cluster": "median",
    "agreement_previous": "ARI with the epoch before",
    "agreement_previous_nmi": "NMI with the epoch before",
    "rank1": "rank-1",
    "ari": "ARI",
    "nmi": "NMI",
}
NOT_CURVES = {"epoch", "step", "seconds"}


@dataclass(frozen=True)
class Curve:
    """One picture of one or a few measurements.

    Attributes:
        title: What is drawn.
        svg: The picture, to be put into a page as it is.
        note: What a reader without eyes for the picture is told: first and last value.
    """

    title: str
    svg: str
    note: str


def curves(history: Sequence[Mapping[str, Any]], monitor: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """Draw everything that was measured by epoch: retrieval and clusters first, then every loss, then the speed.

    Args:
        history: One row an epoch: names to numbers.
        monitor: One row an epoch: what was measured against identities.

    Returns:
        The pictures; none when nothing was measured twice or more.
    """
    series = series_of([*history, *monitor])
    drawn = []
    for title, names in TOGETHER:
        found = {name: series.pop(name) for name in names if name in series}
        if found:
            drawn.append(draw(title, found))
    speed = series.pop("images_per_second", None)
    drawn.extend(draw(TITLES.get(name, name.replace("_", " ")), {name: values}) for name, values in series.items())
    if speed is not None:
        drawn.append(draw(TITLES["images_per_second"], {"images_per_second": speed}))
    return tuple(drawn)


def series_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[float, float]]:
    """Turn rows into one epoch-to-value table a measurement; values that are no finite numbers are left out."""
    series: dict[str, dict[float, float]] = {}
    for row in rows:
        epoch = row.get("epoch")
        if not is_number(epoch):
            continue
        for name, value in row.items():
            if name not in NOT_CURVES and is_number(value):
                series.setdefault(name, {})[float(epoch)] = float(value)
    return series


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value can be a point of a curve."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def draw(title: str, series: Mapping[str, Mapping[float, float]], *, legend: bool = True) -> Curve:
    """Draw a few measurements over the epochs into one picture.

    Args:
        title: What is drawn.
        series: Name to epoch to value, at most as many as there are ``SERIES``; an empty one keeps its colour unused.
        legend: Whether the picture names its lines; a page that names them once says False.
    """
    figure = Figure(figsize=(3.5, 2.1), layout="constrained")
    axes = figure.add_subplot()
    for (name, values), colour in zip(series.items(), SERIES, strict=False):
        if not values:
            continue
        epochs = sorted(values)
        marker = "o" if len(epochs) <= 12 else ""
        axes.plot(
            epochs,
            [values[epoch] for epoch in epochs],
            color=colour,
            marker=marker,
            markersize=3,
            linewidth=1.6,
            label=TITLES.get(name, name),
        )
    axes.set_xlabel("epoch", color=INK, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    if legend and len(series) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return Curve(title, as_svg(figure, salt=title), spoken(series))


def as_svg(figure: Figure, *, salt: str) -> str:
    """Return a figure as an inline SVG element with text kept as text and the page's colours."""
    import matplotlib

    buffer = io.StringIO()
    # The salt keeps the identifiers of several pictures on one page apart, and the same from run to run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for written, wanted in COLOURS.items():
        svg = svg.replace(written, wanted)
    return svg


def spoken(series: Mapping[str, Mapping[float, float]]) -> str:
    """Say first and last value of each measurement."""
    parts = []
    for name, values in series.items():
        if not values:
            continue
        first, last = values[min(values)], values[max(values)]
        parts.append(f"{TITLES.get(name, name.replace('_', ' '))} from {first:.4g} to {last:.4g}")
    return ", ".join(parts)
