"""What ``genvar reproduce`` does, once its options are read."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.command import Options, resolve, run_command
from pipeline.expected import Expected, Verdict, find_expected, judge, read_expected


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
