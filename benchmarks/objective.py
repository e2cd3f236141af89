"""Do the label-free objectives rank settings as the true mAP does? Reads searches that pruned nothing.

    .venv/bin/genvar tune space.yaml --trials 10 --reduction 0
    .venv/bin/python benchmarks/objective.py runs/searches/*/results/search.json --out objective.png

Output folders of joint stages serve too, for trainings that no search made. For every number that needs no labels:
Spearman's rank correlation with the mAP of a trial's last epoch, over the trials that ran to the end; a 95 % interval
by bootstrap over the trials; the lowest and highest correlation when one trial is left out; and the correlation of the
number at each earlier epoch, which is what pruning sees, with the final mAP.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot
from scipy import stats

DRAWS = 2000
# Numbers of a clustering that a search could follow, and products of them with the share of images in a cluster.
ALONE = ("agreement_previous", "agreement_previous_nmi", "silhouette", "num_clusters")


def candidates(row: Mapping[str, float], num_images: int) -> dict[str, float]:
    """Return everything that is compared, from what an epoch logged; nothing of it looks at a label."""
    share = 1 - row["num_outliers"] / num_images
    found = {name: row[name] for name in ALONE if name in row} | {"clustered share": share}
    # The mean silhouette of all images, an outlier counting 0, is the one of the clustered images times their share.
    found |= {f"{name} x share": row[name] * share for name in ALONE[:3] if name in row}
    if "agreement_previous" in row:
        found["agreement_previous x silhouette x share"] = row["agreement_previous"] * row["silhouette"] * share
    return found


def read_trials(paths: list[Path]) -> list[tuple[list[dict[str, float]], float]]:
    """Return, for every finished trial, the candidates of each epoch and the mAP of the last one."""
    found = []
    for path in paths:
        folders = [path]
        if path.is_file():
            trials: list[dict[str, Any]] = json.loads(path.read_text())["trials"]
            folders = [Path(trial["weights"]) for trial in trials if trial["status"] == "done"]
        for folder in folders:
            num_images = int(json.loads((folder / "summary.json").read_text())["num_images"])
            rows, monitored = (_lines(folder / name) for name in ("history.jsonl", "monitor.jsonl"))
            found.append(([candidates(row, num_images) for row in rows], float(monitored[-1]["mAP"])))
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def spearman(values: np.ndarray, truth: np.ndarray) -> float:
    """Return the rank correlation of two rows of numbers, (N,) each."""
    return float(stats.spearmanr(values, truth).statistic)


def spread(values: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float]:
    """Return the ends of the 95 % interval, and of what leaving one trial out gives."""
    count = len(truth)
    draws = np.random.default_rng(0).integers(count, size=(DRAWS, count))
    draws = draws[[len(set(truth[rows])) > 2 and len(set(values[rows])) > 2 for rows in draws]]
    low, high = np.quantile([spearman(values[rows], truth[rows]) for rows in draws], [0.025, 0.975])
    without = [spearman(np.delete(values, index), np.delete(truth, index)) for index in range(count)]
    return float(low), float(high), min(without), max(without)


def draw(rows: list[tuple[str, float, np.ndarray]], truth: np.ndarray, path: Path) -> None:
    """Draw one scatter plot for each of the first four."""
    figure, axes = pyplot.subplots(1, 4, figsize=(13, 3.4), sharey=True)
    for axis, (name, rho, values) in zip(axes, rows, strict=False):
        axis.scatter(values, truth, s=22)
        axis.set(title=f"rank correlation {rho:+.2f}", xlabel=name)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mAP of the last epoch, %")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("searches", type=Path, nargs="+", help="search.json of searches, or folders of joint stages")
    parser.add_argument("--out", type=Path, help="picture: one scatter plot for each of the best four")
    arguments = parser.parse_args()

    trials = read_trials(arguments.searches)
    truth = np.array([final for _, final in trials])
    num_epochs = min(len(epochs) for epochs, _ in trials)
    names = list(trials[0][0][-1])
    rows = []
    for name in names:
        values = np.array([epochs[-1][name] for epochs, _ in trials])
        rows.append((name, spearman(values, truth), values))
    rows.sort(key=lambda row: -abs(row[1]))
    print(f"{len(trials)} trials, mAP {truth.min():.1f} to {truth.max():.1f}; {len(rows)} numbers tried")
    for name, rho, values in rows:
        low, high, least, most = spread(values, truth)
        print(f"{name:42s} {rho:+.2f}  95 % [{low:+.2f}, {high:+.2f}]  without one [{least:+.2f}, {most:+.2f}]")
    for epoch in range(1, num_epochs - 1):
        earlier = [(name, np.array([epochs[epoch][name] for epochs, _ in trials])) for name, _, _ in rows[:4]]
        text = ", ".join(f"{name} {spearman(values, truth):+.2f}" for name, values in earlier)
        print(f"after {epoch + 1} epochs: {text}")
    if arguments.out is not None:
        draw(rows, truth, arguments.out)


if __name__ == "__main__":
    main()
