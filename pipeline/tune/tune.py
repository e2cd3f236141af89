"""``genvar tune``: shared stages once, then trials, then the results of the search."""

import dataclasses
import json
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from infra.compute.protocol import Compute
from infra.compute.ray_cluster import joins_cluster
from infra.home import Home, check_home, find_home
from infra.progress import ProgressBar, progress_bar, watching
from infra.tracking.address import check_store, tracking_uri
from infra.tracking.store import RunStore
from pipeline.command import Options, open_compute
from pipeline.plan import read_by_workers
from pipeline.runner import run_plan
from pipeline.tune.prepare import Search, SearchOptions, prepare, show_search, warn_of_long_search
from pipeline.tune.ray_tune import run_trials
from pipeline.tune.results import (
    best_trial,
    comparison_page,
    draw_trials,
    note,
    read_trials,
    rerun_command,
    show_trials,
    summary,
)
from pipeline.tune.trial import RUNNING, TrialJob, TrialRecord
from pipeline.work_dir import locked, write_whole
from reid_core.errors import UserError

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 2.0


def run_search(options: SearchOptions, console: Console) -> None:
    """Check everything, run or continue a search, and print what it found.

    Args:
        options: Of the command line.
        console: For results, on standard output.
    """
    search = prepare(options)
    home = find_home(options.pipeline.home)
    check_home(home)
    uri = tracking_uri(home)
    check_store(uri)
    folder = home.root / "searches" / search.name
    store = RunStore(home, uri, search.dataset)
    if options.pipeline.dry_run:
        show_search(console, search, store, folder)
    if not joins_cluster():
        warn_of_long_search(search)
    if options.pipeline.dry_run:
        return
    with open_compute(options.pipeline) as compute:
        compute.prepare(read_by_workers(search.configs), written=home.root)
        concurrency = _concurrency(options, compute)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, lambda holder: _log.info("search %s: %s works on it; waiting", search.name, holder)):
            store.close_orphans()
            run_id = _open_run(search, store, folder)
            try:
                _run(search, home, store, compute, folder, run_id, concurrency)
                trials = read_trials(folder, search.objective)
                _finish(search, store, folder, run_id, trials, console)
            except BaseException as error:
                store.end(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
                raise
    if best_trial(trials) is None:
        raise UserError(
            "no trial ran to the end, so there is nothing to choose from; the table says why each one stopped: mend "
            "that, or narrow what varies"
        )


def _concurrency(options: SearchOptions, compute: Compute) -> int:
    """Return how many trials run at the same time; refuses a trial that fits nowhere."""
    num_cpus, num_gpus = compute.num_cpus, compute.num_gpus
    if options.cpus_per_trial > num_cpus or options.gpus_per_trial > num_gpus:
        raise UserError(
            f"a trial asks for {options.cpus_per_trial} CPUs and {options.gpus_per_trial:g} GPUs, but there are "
            f"{num_cpus} and {num_gpus}; lower --cpus-per-trial or --gpus-per-trial"
        )
    fitting = int(num_cpus // options.cpus_per_trial)
    if options.gpus_per_trial:
        fitting = min(fitting, int(num_gpus / options.gpus_per_trial))
    return min(options.concurrency or fitting, fitting)


def _run(
    search: Search, home: Home, store: RunStore, compute: Compute, folder: Path, run_id: str, concurrency: int
) -> None:
    options = search.options
    if search.shared is not None:
        _log.info("search %s: stages that all trials share", search.name)
        run_plan(search.shared, home, store, compute, tags={}, headline=lambda _: {}, parent=run_id)
    schedule = dataclasses.replace(search.schedule, concurrency=concurrency)
    job = TrialJob(
        options=dataclasses.replace(options.pipeline, home=home.root),
        objective=search.objective,
        stage=search.stage,
        num_epochs=schedule.num_epochs,
        home=home,
        uri=store.uri,
        experiment=store.experiment,
        search_run=run_id,
        folder=folder,
        num_cpus=options.cpus_per_trial,
        num_gpus=1 if options.gpus_per_trial else 0,
        gpus=options.gpus_per_trial,
    )
    with (
        progress_bar("search", schedule.num_trials * schedule.num_epochs, "epochs") as bar,
        watching(lambda: _show(search, folder, bar), seconds=_SECONDS_BETWEEN_LOOKS),
    ):
        run_trials(search.space, job, schedule)
    store.close_orphans()  # stages of trials that were stopped in the middle


def _show(search: Search, folder: Path, bar: ProgressBar) -> None:
    """Show epochs: a trial takes minutes. One that has ended counts as all of its epochs, however early it was."""
    trials = read_trials(folder, search.objective)
    ended = [trial for trial in trials if trial.status != RUNNING]
    epochs = search.schedule.num_epochs * len(ended)
    epochs += sum(min(trial.epochs, search.schedule.num_epochs) for trial in trials if trial.status == RUNNING)
    best = best_trial(trials)
    numbers = {"trials ended": float(len(ended))}
    if best is not None and best.objective is not None:
        numbers[f"best {search.objective.name}"] = best.objective
    bar.show(epochs, numbers)


def _open_run(search: Search, store: RunStore, folder: Path) -> str:
    """Open the run of the search, or the one that an interrupted command had opened."""
    path = folder / "run_id"
    if path.is_file():
        run_id = path.read_text()
        if store.resume(run_id, even_finished=True):
            _log.info("search %s: continuing", search.name)
            return run_id
    params = {dimension.key: str(dimension).partition("=")[2] for dimension in search.space}
    params |= {name: str(value) for name, value in dataclasses.asdict(search.schedule).items()}
    tags = {
        "genvar.kind": "search",
        "preset": search.preset,
        "objective": f"{search.objective.name} ({search.objective.mode})",
        "selected_on_labels": str(search.objective.uses_labels).lower(),
    }
    run_id = store.start(f"search {search.name}", params=params, tags=tags, parent=None)
    write_whole(path, run_id)
    return run_id


def _finish(
    search: Search, store: RunStore, folder: Path, run_id: str, trials: Sequence[TrialRecord], console: Console
) -> None:
    """Write and store what was found, close the run, and print it."""
    best = best_trial(trials)
    command = rerun_command(best, _pipeline_options(search.options.pipeline)) if best is not None else ""
    found = folder / "results"
    found.mkdir(exist_ok=True)
    (found / "search.json").write_text(json.dumps(summary(trials, search.objective, command), indent=1))
    compared = comparison_page(trials, store.experiment_id)
    store.tag(run_id, "mlflow.note.content", note(trials, search.objective, compared, command))
    if best is not None:
        draw_trials(trials, search.space, search.objective, found)
        store.tag(run_id, "best.trial", best.trial_id)
        store.tag(run_id, "best.run_id", best.run_id)
        store.tag(run_id, "best.weights", best.weights)
        assert best.objective is not None
        store.log_results(run_id, {"objective": best.objective})
    store.upload(run_id, found)
    store.end(run_id, "FINISHED" if best is not None else "FAILED")
    show_trials(console, trials, search.objective)
    console.print(f"Results    {found}", markup=False, highlight=False)
    if best is not None:
        console.print(f"Weights    {best.weights}", markup=False, highlight=False)
        console.print(f'Compare    make ui, then the run "search {search.name}": it links the comparison', markup=False)
        console.print(f"Run best   {command}", markup=False, highlight=False)


def _pipeline_options(options: Options) -> list[str]:
    """Return the options of the command line that ask for the same pipeline."""
    given = {
        "--dataset": options.dataset,
        "--data-root": options.data_root,
        "--preset": options.preset,
        "--config": options.config_file,
        "--home": options.home,
    }
    texts = [f"{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
    switches = ["--deterministic"] if options.deterministic else []
    return [*texts, *switches, *(shlex.quote(text) for text in options.overrides)]
