"""``genvar compare``: finished pipelines side by side, with mean and deviation over seeds, settings and curves."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as TerminalTable

from infra.home import Home, check_writable
from infra.tracking.address import known_store, tracking_uri
from infra.tracking.pipelines import PipelineRun, choose_pipelines, list_pipelines
from infra.tracking.store import RunStore
from pipeline.config import RENAMED, neutral_keys
from pipeline.plan import STAGES
from pipeline.work_dir import write_whole
from reid_core.data.path_safety import absolute
from reid_core.errors import UserError
from stages.evaluate import HEADLINE
from stages.report import REPORTED
from stages.reporting.curves import SERIES, Curve, draw, is_number, series_of
from stages.reporting.facts import StageFacts, read_facts
from stages.reporting.page import render
from stages.reporting.results import SCORES, Table, conditions_of, number, score_rows, with_interval

_CLUSTERS = {"num_clusters": ("clusters", 0), "ari": ("ARI", 3)}
_MOST_WITHOUT_NAMES = 8  # as many as a curve has colours
_TERMINAL_COLUMNS = ("run", "mAP", "rank-1", "rank-5", "rank-10", "mINP", "clusters", "ARI", "seeds")


@dataclass(frozen=True)
class Compared:
    """One pipeline that is compared.

    Attributes:
        title: For people.
        stages: Facts of every stage; empty ones for stages that did not run.
    """

    title: str
    stages: Mapping[str, StageFacts]

    @property
    def scores(self) -> Mapping[str, Any]:
        """The row of the encoder after joint training; empty without an evaluation."""
        return next((row for row in score_rows(self.stages) if row.get("encoder") == HEADLINE), {})

    @property
    def clusters(self) -> Mapping[str, Any]:
        """The clustering at the end of joint training; empty without one."""
        rows = self.stages["evaluate"].metrics.get("clusters") or []
        return next((row for row in rows if row.get("stage") == HEADLINE), {})

    @property
    def seed(self) -> Any:
        """Seed of joint training."""
        return self.stages[HEADLINE].config.get("seed")

    @property
    def group(self) -> str:
        """Equal for pipelines that differ in the seed alone: same images, same settings."""
        return json.dumps([self.stages["data"].marker.get("fingerprint"), self.settings()], sort_keys=True)

    def settings(self) -> dict[str, Any]:
        """Return every setting that results depend on under its dotted name, seeds of trainings left out."""
        without_effect = _settings_without_effect()
        return {
            key: value
            for name, facts in self.stages.items()
            for key, value in _leaves(name, facts.config)
            if key != f"{name}.seed" and without_effect.isdisjoint((key, RENAMED.get(key, key)))
        }


@cache
def _settings_without_effect() -> frozenset[str]:
    return frozenset(f"{stage.name}.{key}" for stage in STAGES for key in neutral_keys(stage.config, display=True))


def compared(title: str, folders: Mapping[str, Path]) -> Compared:
    """Read a pipeline from the folders of its stages; those that are missing are empty.

    Args:
        title: For people.
        folders: Stage name to folder.
    """
    return Compared(title, {stage.name: read_facts(stage, folders.get(stage.name)) for stage in REPORTED})


def grouped(runs: Sequence[Compared]) -> list[list[Compared]]:
    """Put runs that differ in the seed alone together, in the order in which their first one came."""
    groups: dict[str, list[Compared]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return [sorted(group, key=lambda run: str(run.seed)) for group in groups.values()]


def result_table(runs: Sequence[Compared]) -> Table:
    """Return one row a run, and below runs that differ in the seed alone their mean and standard deviation."""
    rows: list[tuple[str, ...]] = []
    means: set[int] = set()
    head: tuple[str, ...] = ()
    for group in grouped(runs):
        for run in group:
            scores = tuple(with_interval(run.scores, score) for score in SCORES)
            clusters = tuple(number(run.clusters.get(key), digits=digits) for key, (_, digits) in _CLUSTERS.items())
            conditions = conditions_of(run.stages, HEADLINE)
            head = ("run", *SCORES.values(), *(heading for heading, _ in _CLUSTERS.values()), *conditions)
            rows.append((run.title, *scores, *clusters, *conditions.values()))
        if len(group) > 1:
            means.add(len(rows))
            rows.append(_mean_row(group))
    return Table(head, tuple(rows), (1, 1 + len(SCORES) + len(_CLUSTERS)), means=frozenset(means))


def setting_table(runs: Sequence[Compared]) -> Table | None:
    """Return the settings in which groups of runs differ, one column a group; None when they differ in none."""
    groups = grouped(runs)
    settings = [group[0].settings() for group in groups]
    # In the order of the stages; a run of an earlier version may lack some.
    keys = {key: None for one in settings for key in one}
    different = [key for key in keys if len({json.dumps(one.get(key)) for one in settings}) > 1]
    if not different:
        return None
    head = ("setting", *(_group_title(group) for group in groups))
    rows = tuple((key, *(_word(one, key) for one in settings)) for key in different)
    return Table(head, rows, (0, 0))


def comparison_page(title: str, runs: Sequence[Compared]) -> str:
    """Return the comparison as one HTML document that needs nothing beside itself."""
    if not runs:
        raise UserError("a comparison needs at least one finished pipeline; run one first")
    ordered = [run for group in grouped(runs) for run in group]
    shown = ordered[: len(SERIES)]
    return render(
        "comparison.html.j2",
        title=title,
        runs=[run.title for run in shown],
        shown=len(shown) if len(shown) < len(ordered) else 0,
        table=result_table(runs),
        settings=setting_table(runs),
        sections=[(stage.name, drawn) for stage in REPORTED if (drawn := _curves(stage.name, shown))],
    )


def _mean_row(group: Sequence[Compared]) -> tuple[str, ...]:
    scores = tuple(_mean([run.scores.get(score) for run in group], 1) for score in SCORES)
    clusters = tuple(_mean([run.clusters.get(key) for run in group], digits) for key, (_, digits) in _CLUSTERS.items())
    conditions = conditions_of(group[0].stages, HEADLINE)
    conditions["seeds"] = f"{len(group)} (mean ± std)"
    return (_group_title(group), *scores, *clusters, *conditions.values())


def _group_title(group: Sequence[Compared]) -> str:
    if len(group) == 1:
        return group[0].title
    seeds = ", ".join(str(run.seed) for run in group)
    name, _, rest = group[0].title.partition(f" seed {group[0].seed}")
    # Where several runs have one name, the beginning of the first one's id tells the groups apart as well.
    return f"{name}, seeds {seeds}" + (f"{rest.removesuffix(')')}, ...)" if rest.startswith(" (") else rest)


def _mean(values: Sequence[Any], digits: int) -> str:
    known = [float(value) for value in values if is_number(value)]
    if len(known) < 2 or len(known) < len(values):
        return "–"
    return f"{statistics.mean(known):,.{digits}f}\n± {statistics.stdev(known):.{digits}f}"


def _curves(stage: str, runs: Sequence[Compared]) -> list[Curve]:
    series = [series_of([*run.stages[stage].history, *run.stages[stage].monitor]) for run in runs]
    names = dict.fromkeys(name for one in series for name in one)
    # Two runs may have one title: the position keeps their lines apart.
    return [
        draw(name.replace("_", " "), {f"{i}": one.get(name, {}) for i, one in enumerate(series)}, legend=False)
        for name in names
    ]


def _leaves(prefix: str, value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, item in value.items():
        name = f"{prefix}.{key}"
        found += _leaves(name, item) if isinstance(item, Mapping) else [(name, item)]
    return found


def _word(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "–"
    value = settings[key]
    return value if isinstance(value, str) else json.dumps(value)


def find_pipelines(home: Home, names: Sequence[str]) -> list[PipelineRun]:
    """Return finished pipelines by name or id, newest first where no name is given; a UserError when there is none."""
    found = choose_pipelines(list_pipelines(known_store(home)), names)
    if not found:
        raise UserError(f"no pipeline in {home.root} has finished yet; run one first, or name another --home")
    return found


def stage_folders(home: Home, pipeline: PipelineRun) -> dict[str, Path]:
    """Return the folders with the artifacts of a pipeline's stages, downloaded where they are on a server."""
    store = RunStore(home, tracking_uri(home), pipeline.experiment)
    folders = {name: store.artifacts_dir(run) for name, run in pipeline.stages.items()}
    gone = sorted(str(folder) for folder in folders.values() if not folder.is_dir())
    if gone:
        raise UserError(
            f"{pipeline.title} is known, but its results are not there (looked for {gone[0]}); was the home moved? "
            "Move it back, or run the pipeline again"
        )
    return folders


def compare(home: Home, names: Sequence[str], out: Path | None, console: Console) -> None:
    """Print the table of several pipelines and write it with their curves into one page.

    Args:
        home: Where runs are kept.
        names: Pipelines by name or id; empty compares the newest ones.
        out: Page to write; None for ``compare.html`` in the home.
        console: For the table, on standard output.
    """
    target = absolute(out or home.root / "compare.html")
    check_writable(target, "choose another --out")
    pipelines = find_pipelines(home, names)
    if not names:
        pipelines = [one for one in pipelines if "evaluate" in one.stages][:_MOST_WITHOUT_NAMES]
    runs = [compared(title, stage_folders(home, one)) for title, one in zip(_titles(pipelines), pipelines, strict=True)]
    show_comparison(runs, target, console)


def show_comparison(runs: Sequence[Compared], target: Path, console: Console) -> None:
    """Print the table of a comparison, and write its page."""
    page = comparison_page("Runs compared", runs)
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is no folder, so {target.name} cannot be written there; choose another --out")
    write_whole(target, page)
    console.print(_terminal_table(runs))
    console.print(f"Comparison {target}", markup=False, highlight=False)


def _titles(pipelines: Sequence[PipelineRun]) -> list[str]:
    """Return a title for each, with the beginning of its id where several have one title."""
    titles = [one.title for one in pipelines]
    return [one.title if titles.count(one.title) == 1 else f"{one.title} ({one.run_id[:8]})" for one in pipelines]


def _terminal_table(runs: Sequence[Compared]) -> TerminalTable:
    results = result_table(runs)
    columns = [results.head.index(name) for name in _TERMINAL_COLUMNS]
    table = TerminalTable(title="After joint training, in percent, last epoch", title_justify="left")
    for column in columns:
        is_number = results.numbers[0] <= column < results.numbers[1]
        table.add_column(results.head[column], justify="right" if is_number else "left")
    for place, row in enumerate(results.rows):
        # A second line is the deviation of a mean, or the interval of a single run, for which a terminal is too narrow.
        is_mean = place in results.means
        cells = (row[column].replace("\n", " ") if is_mean else row[column].split("\n")[0] for column in columns)
        table.add_row(*cells, style="bold" if is_mean else "")
    return table
