"""Do the label-free objectives rank settings as the true mAP does? Reads searches that pruned nothing.

    .venv/bin/genvar tune clustering --trials 16 --reduction 0
    .venv/bin/python benchmarks/objective.py runs/searches/*/results/search.json --out docs/search.png

For every number that a trial logged without labels: Spearman's rank correlation with the mAP of its last epoch, over
the trials that ran to the end, with a 95 % interval by bootstrap over the trials.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot
from scipy import stats

LABELLED = ("monitor/", "best_on_test/")
MAP = "monitor/mAP"
DRAWS = 2000


def read_trials(paths: list[Path]) -> list[dict[str, float]]:
    """Return what every finished trial logged last."""
    found: list[dict[str, float]] = []
    for path in paths:
        trials: list[dict[str, Any]] = json.loads(path.read_text())["trials"]
        found += [trial["metrics"] for trial in trials if trial["status"] == "done" and MAP in trial["metrics"]]
    return found


def correlation(values: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Return Spearman's correlation and the ends of its 95 % interval."""
    draws = np.random.default_rng(0).integers(len(truth), size=(DRAWS, len(truth)))
    with np.errstate(invalid="ignore"):
        several = [float(stats.spearmanr(values[rows], truth[rows]).statistic) for rows in draws]
    low, high = np.nanquantile(several, [0.025, 0.975])
    return float(stats.spearmanr(values, truth).statistic), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("searches", type=Path, nargs="+", help="search.json of finished searches")
    parser.add_argument("--out", type=Path, help="picture: one scatter plot for each of the best four")
    arguments = parser.parse_args()

    trials = read_trials(arguments.searches)
    names = sorted({name for trial in trials for name in trial if not name.startswith(LABELLED)})
    rows = []
    for name in names:
        pairs = [(trial[name], trial[MAP]) for trial in trials if isinstance(trial.get(name), (int, float))]
        values, truth = np.array(pairs, dtype=float).T
        if len(pairs) < len(trials) or len(set(values)) < 3 or not np.isfinite(values).all():
            continue
        rows.append((name, *correlation(values, truth), values, truth))
    rows.sort(key=lambda row: -abs(row[1]))
    print(f"{len(trials)} trials, mAP {min(t[MAP] for t in trials):.1f} to {max(t[MAP] for t in trials):.1f}")
    for name, rho, low, high, _, _ in rows:
        print(f"{name:32s} {rho:+.2f}  [{low:+.2f}, {high:+.2f}]")
    if arguments.out is not None:
        figure, axes = pyplot.subplots(1, 4, figsize=(13, 3.4), sharey=True)
        for axis, (name, rho, _, _, values, truth) in zip(axes, rows, strict=False):
            axis.scatter(values, truth, s=18)
            axis.set(title=f"rank correlation {rho:+.2f}", xlabel=name)
        axes[0].set_ylabel("mAP of the last epoch, %")
        figure.tight_layout()
        figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
