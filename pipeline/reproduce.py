"""``genvar reproduce``: a run beside the figures that it should reach, with their tolerance and source."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from pipeline.command import Options, resolve, run_command
from pipeline.settings_file import read_settings
from reid_core.data.datasets.find import canonical_name
from reid_core.errors import UserError

_FILE = "expected.yaml"


class Figure(BaseModel):
    """One expected score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str = Field(description="Row of the table of results: untrained, identity or joint.")
    metric: str = Field(description="Column: mAP, rank1, rank5, rank10, rank20 or mINP.")
    value: float = Field(ge=0, le=100, description="In percent.")
    tolerance: float = Field(ge=0, le=100, description="In points.")
    at_least: bool = Field(False, description="Whether a higher score is as right.")

    def holds(self, score: float) -> bool:
        """Tell whether a score, rounded as it is shown, is within the tolerance."""
        difference = round(score, 1) - self.value
        return difference >= -self.tolerance - 1e-9 and (self.at_least or difference <= self.tolerance + 1e-9)


class Expected(BaseModel):
    """What is expected of one data set under one preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    preset: str
    figures: tuple[Figure, ...] = Field(min_length=1)
    source: str = Field(min_length=1)


@dataclass(frozen=True)
class Verdict:
    """One figure beside what was measured.

    Attributes:
        figure: What was expected.
        scores: One a seed; empty when the run did not measure it.
    """

    figure: Figure
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds; there is at least one."""
        return sum(self.scores) / len(self.scores)

    @property
    def is_right(self) -> bool:
        """Whether the mean is within the tolerance; what was not measured is not."""
        return bool(self.scores) and self.figure.holds(self.mean)


def read_expected(path: Path | None) -> list[Expected]:
    """Read expected figures: those of the project, or a file of the same form (YAML or JSON)."""
    content = (
        read_settings(path, "the file of expected figures", "--expected")
        if path
        else yaml.safe_load((files("pipeline") / _FILE).read_text(encoding="utf-8"))
    )
    try:
        return TypeAdapter(list[Expected]).validate_python(content)
    except ValidationError as error:
        problem = str(error).replace("\n", " ")[:300]
        raise UserError(
            f"{path or _FILE} does not hold expected figures ({problem}); take {_FILE} as a model"
        ) from error


def find_expected(known: Sequence[Expected], dataset: str, preset: str) -> Expected:
    """Return what is expected of a data set under a preset; a UserError names what there is instead."""
    name = canonical_name(dataset)
    for expected in known:
        if (canonical_name(expected.dataset), expected.preset) == (name, preset):
            return expected
    there = ", ".join(f"{one.dataset} with preset {one.preset}" for one in known)
    raise UserError(
        f"no figures are expected of {name} with preset {preset} (there are: {there or 'none'}); give --expected FILE"
    )


def judge(expected: Expected, runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Verdict]:
    """Put every expected figure beside what was measured.

    Args:
        expected: The figures.
        runs: For each seed the rows of its ``metrics.json``.

    Returns:
        One verdict a figure.
    """
    verdicts = []
    for figure in expected.figures:
        scores = [
            float(row[figure.metric])
            for rows in runs
            for row in rows
            if row.get("encoder") == figure.encoder and isinstance(row.get(figure.metric), int | float)
        ]
        verdicts.append(Verdict(figure, tuple(scores) if len(scores) == len(runs) else ()))
    return verdicts


def reproduce(options: Options, expected_file: Path | None, console: Console) -> bool:
    """Run the pipeline and compare it with the expected figures.

    Args:
        options: Of the pipeline.
        expected_file: Figures of the user; None for those of the project.
        console: For the tables, on standard output.

    Returns:
        Whether every figure is within its tolerance.
    """
    known = read_expected(expected_file)
    preset_name, configs = resolve(options, options.seeds[0] if options.seeds else None)
    dataset = str(getattr(configs["data"], "dataset", ""))
    expected = find_expected(known, dataset, preset_name)
    outcomes = run_command(options, console)
    if not outcomes:  # a dry run
        return True
    verdicts = judge(expected, [outcome.rows() for outcome in outcomes.values()])
    console.print(verdict_table(expected, verdicts))
    console.print(f"Source     {expected.source}", markup=False, highlight=False)
    missed = [verdict for verdict in verdicts if not verdict.is_right]
    words = f"{len(verdicts) - len(missed)} of {len(verdicts)} figures are within their tolerance"
    console.print(words, markup=False, highlight=False)
    return not missed


def verdict_table(expected: Expected, verdicts: Sequence[Verdict]) -> Table:
    """Return expected and measured figures side by side."""
    table = Table(title=f"Expected of {expected.dataset}, preset {expected.preset}, in percent", title_justify="left")
    for heading in ("encoder", "score", "expected", "measured", "verdict"):
        table.add_column(heading, justify="right" if heading in ("expected", "measured") else "left")
    for verdict in verdicts:
        figure = verdict.figure
        wanted = f"{figure.value:.1f} ± {figure.tolerance:.1f}"
        if figure.at_least:
            wanted = f"at least {figure.value - figure.tolerance:.1f}"
        table.add_row(figure.encoder, figure.metric, wanted, _measured(verdict), _word(verdict))
    return table


def _measured(verdict: Verdict) -> str:
    if not verdict.scores:
        return "–"
    spread = f" ± {statistics.stdev(verdict.scores):.1f}" if len(verdict.scores) > 1 else ""
    return f"{verdict.mean:.1f}{spread}"


def _word(verdict: Verdict) -> str:
    if not verdict.scores:
        return "not measured"
    if verdict.is_right:
        return "as expected"
    return "LOWER" if verdict.mean < verdict.figure.value else "HIGHER"
