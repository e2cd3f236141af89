"""The numbers that a pipeline ends with, and the tables that show them."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.home import find_home
from pipeline.compare import compared, comparison_page
from pipeline.runner import StageResult
from pipeline.work_dir import write_whole
from stages.reporting.results import TITLES


@dataclass(frozen=True)
class Outcome:
    """What one pipeline ended with.

    Attributes:
        stages: What became of each stage.
        metrics: Content of the evaluation's ``metrics.json``; empty where the evaluation has not run.
    """

    stages: Sequence[StageResult]
    metrics: Mapping[str, Any]

    def rows(self) -> list[Mapping[str, Any]]:
        """Scores, one row an encoder."""
        return list(self.metrics.get("rows") or [])

    def clusters(self) -> list[Mapping[str, Any]]:
        """Clusterings, one row a stage."""
        return list(self.metrics.get("clusters") or [])

    def numbers(self) -> dict[str, float]:
        """Headline numbers under names that stay the same from run to run."""
        found: dict[str, Any] = {}
        for row in self.rows():
            encoder = row["encoder"].replace(" + ", "-")  # MLflow takes no plus sign
            found |= {f"{key}/{encoder}": row.get(key) for key in ("mAP", "rank1", "rank5", "rank10", "mINP")}
        for row in self.clusters():
            found |= {f"{key}/{row['stage']}": row.get(key) for key in ("num_clusters", "num_outliers", "ari", "nmi")}
        return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}

    def labels(self) -> dict[str, str]:
        """Facts that every result is to be read with: which data set in which version."""
        return {f"data.{key}": str(self.metrics[key]) for key in ("dataset", "version") if self.metrics.get(key)}


def read_outcome(stages: Sequence[StageResult]) -> Outcome:
    """Collect what a pipeline ended with."""
    folders = {stage.name: stage.folder for stage in stages}
    path = folders["evaluate"] / "metrics.json" if "evaluate" in folders else None
    metrics = json.loads(path.read_text()) if path is not None and path.is_file() else {}
    return Outcome(stages, metrics)


def show_outcome(console: Console, outcome: Outcome, home: Path) -> None:
    """Print the tables of one pipeline, and where its report is."""
    console.print(_stage_table(outcome.stages))
    if outcome.rows():
        console.print(_score_table(outcome.rows()))
    if (reason := outcome.metrics.get("skipped")) is not None:
        console.print(str(reason), markup=False)
    if outcome.clusters():
        console.print(_cluster_table(outcome.clusters()))
    for stage in outcome.stages:
        if (report := stage.folder / "report.html").is_file():
            console.print(f"Report     {report}", markup=False)
    ui = "make ui" if home == find_home().root else f"genvar ui --home {quote(str(home))}"
    console.print(f"Compare    {ui}", markup=False, highlight=False)


def show_seeds(console: Console, outcomes: Mapping[int, Outcome]) -> None:
    """Print mean and standard deviation over seeds."""
    numbers = {seed: outcome.numbers() for seed, outcome in outcomes.items()}
    names = [name for name in next(iter(numbers.values())) if all(name in found for found in numbers.values())]
    table = Table(title=f"Seeds {', '.join(map(str, numbers))}", title_justify="left")
    for heading in ("", "mean", "std", *(f"seed {seed}" for seed in numbers)):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in names:
        values = [found[name] for found in numbers.values()]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.mean(values), deviation, *values)))
    console.print(table)


def write_seeds_page(outcomes: Mapping[str, Outcome], target: Path, console: Console) -> None:
    """Write the comparison of several seeds, with their curves, and print where it is.

    Args:
        outcomes: Name of each pipeline to what it ended with.
        target: Page to write.
        console: For the place.
    """
    runs = [compared(name, {stage.name: stage.folder for stage in one.stages}) for name, one in outcomes.items()]
    write_whole(target, comparison_page("Seeds compared", runs))
    console.print(f"Seeds      {target}", markup=False, highlight=False)


def _stage_table(stages: Sequence[StageResult]) -> Table:
    table = Table(title="Stages", title_justify="left")
    for heading in ("stage", "", "took s", "now s"):
        table.add_column(heading, justify="right" if heading.endswith(" s") else "left")
    for stage in stages:
        table.add_row(stage.name, "reused" if stage.reused else "ran", f"{stage.took:.1f}", f"{stage.seconds:.1f}")
    table.add_section()
    took, now = sum(stage.took for stage in stages), sum(stage.seconds for stage in stages)
    table.add_row("all", "", f"{took:.1f}", f"{now:.1f}")
    return table


def _score_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Query against gallery, in percent", title_justify="left")
    table.add_column("encoder")
    keys = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mINP": "mINP"}
    for heading in keys.values():
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(TITLES.get(row["encoder"], row["encoder"]), *(_number(row.get(key), 1) for key in keys))
    return table


def _cluster_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Clusters of the training images", title_justify="left")
    table.add_column("stage")
    for heading in ("clusters", "outliers", "ARI", "NMI"):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = (_number(row.get(key), 0) for key in ("num_clusters", "num_outliers"))
        table.add_row(row["stage"], *counts, *(_number(row.get(key), 3) for key in ("ari", "nmi")))
    return table


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) else "–"
