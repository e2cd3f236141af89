"""What ``genvar compare`` does, once its options are read."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.home import Home
from infra.tracking.pipelines import PipelineRun, choose_pipelines, list_pipelines
from infra.tracking.store import RunStore, check_store, tracking_uri
from pipeline.comparing import Compared, compared, comparison_page, result_table
from pipeline.workplace import write_whole
from reid_core.errors import UserError

_MOST_WITHOUT_NAMES = 8  # as many as a curve has colours
_SHOWN = ("run", "mAP", "rank-1", "rank-5", "rank-10", "mINP", "clusters", "ARI", "seeds")


def find_pipelines(home: Home, names: Sequence[str]) -> list[PipelineRun]:
    """Return finished pipelines by name or id, newest first where no name is given; a UserError when there is none."""
    uri = tracking_uri(home)
    check_store(uri)
    if uri == f"sqlite:///{home.database}" and not home.database.is_file():
        raise UserError(f"there are no runs in {home.root} yet; run the pipeline first, or name another --home")
    found = choose_pipelines(list_pipelines(uri), names)
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
    pipelines = find_pipelines(home, names)
    if not names:
        pipelines = [one for one in pipelines if "evaluate" in one.stages][:_MOST_WITHOUT_NAMES]
    runs = [compared(title, stage_folders(home, one)) for title, one in zip(_titles(pipelines), pipelines, strict=True)]
    target = (out or home.root / "compare.html").expanduser().absolute()
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


def _terminal_table(runs: Sequence[Compared]) -> Table:
    results = result_table(runs)
    columns = [results.head.index(name) for name in _SHOWN]
    table = Table(title="After joint training, in percent, last epoch", title_justify="left")
    for column in columns:
        is_number = results.numbers[0] <= column < results.numbers[1]
        table.add_column(results.head[column], justify="right" if is_number else "left")
    for place, row in enumerate(results.rows):
        # A second line is the deviation of a mean, or the interval of a single run, for which a terminal is too narrow.
        is_mean = place in results.means
        cells = (row[column].replace("\n", " ") if is_mean else row[column].split("\n")[0] for column in columns)
        table.add_row(*cells, style="bold" if is_mean else "")
    return table
