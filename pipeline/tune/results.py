"""Results of a search: its trials, the best of them, and the pictures that show which settings matter."""

import json
import math
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from pipeline.tune.objective import Objective
from pipeline.tune.space import Dimension
from pipeline.tune.trial import DONE, TrialRecord, read_record

_MAP = "monitor/mAP"
_MOST_COMPARED = 100  # runs in one address
_MOST_NOTED = 5
_WIDEST = 10_000  # characters, to ask how wide a table would be


def read_trials(folder: Path, objective: Objective) -> list[TrialRecord]:
    """Return the trials of a search: those that ran to the end first, the best at the top."""
    records = [record for path in sorted((folder / "trials").glob("*.json")) if (record := read_record(path))]
    sign = -1.0 if objective.mode == "max" else 1.0

    def order(record: TrialRecord) -> tuple[bool, float]:
        known = record.objective is not None and math.isfinite(record.objective)
        return record.status != DONE, sign * record.objective if known and record.objective is not None else math.inf

    return sorted(records, key=order)


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the best trial that ran to the end."""
    return trials[0] if trials and trials[0].status == DONE and trials[0].objective is not None else None


def show_trials(console: Console, trials: Sequence[TrialRecord], objective: Objective) -> None:
    """Print the table of trials, one column a setting where that fits, else all settings in one column."""
    table = _table(trials, objective, by_setting=True)
    if table.__rich_measure__(console, console.options.update(width=_WIDEST)).maximum > console.width:
        table = _table(trials, objective, by_setting=False)
    console.print(table)
    for trial in trials:
        if trial.reason and trial.status != DONE:
            console.print(f"{trial.trial_id} {trial.status}: {trial.reason}", markup=False, highlight=False)


def _table(trials: Sequence[TrialRecord], objective: Objective, *, by_setting: bool) -> Table:
    marked = ", chosen on labels" if objective.uses_labels else ""
    table = Table(title=f"Trials by {objective.name}{marked}: {objective.meaning}", title_justify="left")
    shows_map = any(_MAP in trial.metrics for trial in trials) and not objective.uses_labels
    keys = list(trials[0].values) if trials else []
    for heading in ("trial", "", "epochs", objective.name, *(["mAP (not used)"] if shows_map else [])):
        table.add_column(heading, justify="left" if heading in ("trial", "") else "right")
    for heading in keys if by_setting else ["settings"]:
        table.add_column(heading, justify="right" if by_setting else "left")
    for trial in trials:
        logged = [_number(trial.metrics.get(_MAP))] if shows_map else []
        values = [_number(trial.values[key]) for key in keys]
        if not by_setting:
            names = _short_names(keys)
            values = [", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))]
        table.add_row(trial.trial_id, trial.status, str(trial.epochs), _number(trial.objective), *logged, *values)
    return table


def _short_names(keys: Sequence[str]) -> list[str]:
    """Return the last part of every dotted name, or whole names where two end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return last if len(set(last)) == len(last) else list(keys)


def rerun_command(best: TrialRecord, options: Sequence[str]) -> str:
    """Return the command that runs a trial's settings as a whole pipeline with three seeds.

    Args:
        best: The trial.
        options: Of the search, as the command line took them.

    Returns:
        A line for a shell.
    """
    settings = [shlex.quote(f"{key}={_setting(value)}") for key, value in best.values.items()]
    return " ".join(["genvar pipeline", *options, "--seeds 0,1,2", *settings])


def comparison_page(trials: Sequence[TrialRecord], experiment_id: str) -> str:
    """Return the address, within MLflow's pages, of the page that compares trials (the first hundred)."""
    runs = json.dumps([trial.run_id for trial in trials[:_MOST_COMPARED]], separators=(",", ":"))
    return f"#/compare-runs?runs={quote(runs)}&experiments={quote(json.dumps([experiment_id]))}"


def note(trials: Sequence[TrialRecord], objective: Objective, page: str, command: str) -> str:
    """Return what MLflow shows on the page of the search, as Markdown.

    Args:
        trials: The best at the top.
        objective: Of the search.
        page: Of ``comparison_page``.
        command: Of ``rerun_command``; empty when no trial ran to the end.

    Returns:
        A link that compares the trials, the best five, and the command.
    """
    keys = list(trials[0].values) if trials else []
    heading = ["trial", "status", objective.name, *_short_names(keys)]
    rows = [
        [trial.trial_id, trial.status, _number(trial.objective), *(_number(trial.values[key]) for key in keys)]
        for trial in trials[:_MOST_NOTED]
    ]
    chosen = "**Chosen on labels**: results are not unsupervised.\n\n" if objective.uses_labels else ""
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in [heading, ["---"] * len(heading), *rows])
    again = f"\n\nThe best settings as whole pipelines:\n\n```\n{command}\n```" if command else ""
    return f"[Compare all trials]({page})\n\n{chosen}{table}{again}\n"


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def draw_trials(trials: Sequence[TrialRecord], space: Sequence[Dimension], objective: Objective, folder: Path) -> None:
    """Draw which settings go with which objective.

    Args:
        trials: Those without an objective are left out.
        space: Settings that varied.
        objective: Of the search.
        folder: Receives ``parallel-coordinates.png`` from two finished trials on, ``importance.png`` from four.
    """
    import matplotlib

    matplotlib.use("agg")
    import optuna
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_parallel_coordinate, plot_param_importances

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _study(trials, space, objective)
    folder.mkdir(parents=True, exist_ok=True)
    different = len({trial.value for trial in study.trials})
    pictures: list[tuple[str, Callable[..., Any]]] = []
    if different >= 2:
        pictures.append(("parallel-coordinates", plot_parallel_coordinate))
    if different >= 4:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        pictures.append(("importance", partial(plot_param_importances, evaluator=evaluator)))
    for name, plot in pictures:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            axes = plot(study, target_name=objective.name)  # with a target, the best lines would be the palest
        figure = axes.figure
        figure.set_size_inches(11, 5)
        figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
        pyplot.close(figure)


def _study(trials: Sequence[TrialRecord], space: Sequence[Dimension], objective: Objective) -> Any:
    import optuna

    from pipeline.tune.ray_tune import distribution

    study = optuna.create_study(direction="maximize" if objective.mode == "max" else "minimize")
    keys = [dimension.key for dimension in space]
    names = dict(zip(keys, _short_names(keys), strict=True))  # long ones are cut off in the pictures
    distributions = {names[dimension.key]: distribution(dimension) for dimension in space}
    for trial in trials:
        # A pruned trial has a value of its own, from fewer epochs: left out, as it cannot be compared.
        if trial.status == DONE and trial.objective is not None and math.isfinite(trial.objective):
            study.add_trial(
                optuna.trial.create_trial(
                    params={names[key]: trial.values[key] for key in keys},
                    distributions=distributions,
                    value=float(trial.objective),
                )
            )
    return study


def summary(trials: Sequence[TrialRecord], objective: Objective, command: str) -> Mapping[str, Any]:
    """Return what a search found, for a file."""
    best = best_trial(trials)
    return {
        "objective": {"name": objective.name, "mode": objective.mode, "meaning": objective.meaning},
        "selected_on_labels": objective.uses_labels,
        "best": None if best is None else {"trial": best.trial_id, "run_id": best.run_id, "values": dict(best.values)},
        "command": command,
        "trials": [
            {
                "trial": trial.trial_id,
                "run_id": trial.run_id,
                "status": trial.status,
                "reason": trial.reason,
                "epochs": trial.epochs,
                "objective": trial.objective,
                "values": dict(trial.values),
                "metrics": dict(trial.metrics),
                "weights": trial.weights,
            }
            for trial in trials
        ],
    }


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
