"""What ``genvar tune`` does: shared stages once, then trials, then what they found."""

import dataclasses
import hashlib
import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from infra.compute.protocol import Compute
from infra.home import Home, check_home, find_home
from infra.progress import ProgressBar, progress_bar
from infra.tracking.store import RunStore, check_store, tracking_uri
from infra.watching import watching
from pipeline.command import Options, open_compute, plan_of, resolve
from pipeline.plan import Plan
from pipeline.runner import run_plan
from pipeline.search.objective import Objective, find_objective, listened_stage
from pipeline.search.results import best_trial, draw_trials, read_trials, rerun_command, show_trials, summary
from pipeline.search.space import Dimension, check_space, read_space
from pipeline.search.trial import RUNNING, TrialJob
from pipeline.search.tune import Schedule, run_trials
from pipeline.stages import STAGES, check_data, read_by_workers
from pipeline.workplace import locked, write_whole
from reid_core.errors import UserError
from stages.stage import StageConfig

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True)
class SearchOptions:
    """Options of one search.

    Attributes:
        pipeline: What is varied; its seed is the one of every trial.
        space: Ready space or YAML file.
        vary: Further dimensions.
        objective: Name, or None for the default.
        num_trials: In all.
        concurrency: Trials at the same time; None fills the machine.
        cpus_per_trial: CPUs of a trial.
        gpus_per_trial: GPUs of a trial; fractions share one.
        grace_epochs: No trial is stopped before; None is a quarter of the epochs.
        reduction: At every rung one in this many goes on; 0 prunes nothing.
        seed: Of the proposals.
    """

    pipeline: Options
    space: str | None = None
    vary: tuple[str, ...] = ()
    objective: str | None = None
    num_trials: int = 16
    concurrency: int | None = None
    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    grace_epochs: int | None = None
    reduction: int = 2
    seed: int = 0


@dataclass(frozen=True)
class _Search:
    options: SearchOptions
    space: tuple[Dimension, ...]
    objective: Objective
    stage: str
    preset: str
    configs: Mapping[str, StageConfig]
    shared: Plan | None
    schedule: Schedule
    name: str


def run_search(options: SearchOptions, console: Console) -> None:
    """Check everything, run or continue a search, and print what it found.

    Args:
        options: Of the command line.
        console: For results, on standard output.
    """
    search = _prepare(options)
    home = find_home(options.pipeline.home)
    check_home(home)
    uri = tracking_uri(home)
    check_store(uri)
    folder = home.root / "searches" / search.name
    if options.pipeline.dry_run:
        _show_plan(console, search, folder)
        return
    with open_compute(options.pipeline) as compute:
        compute.prepare(read_by_workers(search.configs), written=home.root)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, lambda holder: _log.info("search %s: %s works on it; waiting", search.name, holder)):
            store = RunStore(home, uri, str(getattr(search.configs["data"], "dataset", "data")))
            store.close_orphans()
            run_id = _open_run(search, store, folder)
            _run(search, home, store, compute, folder, run_id)
            _finish(search, store, folder, run_id, console)


def _prepare(options: SearchOptions) -> _Search:
    """Check the whole search; starts nothing."""
    base = options.pipeline
    if base.executor != "ray":
        raise UserError("a search runs on Ray; leave --executor out")
    space = read_space(options.space, options.vary)
    preset, configs = resolve(base, None)

    def configure(overrides: Any) -> object:
        texts = tuple(f"{key}={json.dumps(value)}" for key, value in overrides)
        return resolve(dataclasses.replace(base, overrides=(*base.overrides, *texts)), None)

    check_space(space, configure)
    searched = {dimension.stage for dimension in space}
    objective = find_objective(options.objective, searched)
    stage = listened_stage(objective, searched, {stage.name: stage.needs for stage in STAGES})
    num_epochs = int(getattr(configs[stage], "num_epochs"))  # noqa: B009 - every stage that is listened to has it
    if f"{stage}.num_epochs" in {dimension.key for dimension in space}:
        raise UserError(f"{stage}.num_epochs is what trials are compared over, so it cannot vary; leave it out")
    if options.concurrency is not None and options.concurrency > options.num_trials:
        raise UserError(f"{options.concurrency} trials at the same time are more than {options.num_trials} trials")
    check_data(configs["data"])
    grace = options.grace_epochs if options.grace_epochs is not None else max(2, num_epochs // 4)
    schedule = Schedule(
        num_trials=options.num_trials,
        concurrency=options.concurrency or 0,
        num_epochs=num_epochs,
        grace_epochs=min(grace, num_epochs),
        reduction=options.reduction,
        seed=options.seed,
    )
    names = [stage.name for stage in STAGES]
    first = min(names.index(name) for name in searched)
    shared = plan_of(dataclasses.replace(base, last=names[first - 1]), configs) if first else None
    whole = plan_of(dataclasses.replace(base, last=stage), configs)
    facts = [*map(str, space), objective.name, dataclasses.asdict(schedule), whole.fingerprints[stage]]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    label = Path(options.space).stem if options.space else "settings"
    return _Search(options, space, objective, stage, preset, configs, shared, schedule, f"{label}-{digest}")


def _run(search: _Search, home: Home, store: RunStore, compute: Compute, folder: Path, run_id: str) -> None:
    options = search.options
    if search.shared is not None:
        _log.info("search %s: stages that all trials share", search.name)
        run_plan(search.shared, home, store, compute, tags={}, headline=lambda _: {}, parent=run_id)
    num_cpus, num_gpus = compute.num_cpus, compute.num_gpus
    if options.cpus_per_trial > num_cpus or options.gpus_per_trial > num_gpus:
        raise UserError(
            f"a trial asks for {options.cpus_per_trial} CPUs and {options.gpus_per_trial:g} GPUs, but there are "
            f"{num_cpus} and {num_gpus}; lower --cpus-per-trial or --gpus-per-trial"
        )
    fitting = int(num_cpus // options.cpus_per_trial)
    if options.gpus_per_trial:
        fitting = min(fitting, int(num_gpus / options.gpus_per_trial))
    schedule = dataclasses.replace(search.schedule, concurrency=min(options.concurrency or fitting, fitting))
    job = TrialJob(
        options=dataclasses.replace(options.pipeline, home=home.root),
        objective=search.objective,
        stage=search.stage,
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
        progress_bar("search", schedule.num_trials, "trials") as bar,
        watching(lambda: _show(search, folder, bar), seconds=_SECONDS_BETWEEN_LOOKS),
    ):
        run_trials(search.space, job, schedule)
    store.close_orphans()  # stages of trials that were stopped in the middle


def _show(search: _Search, folder: Path, bar: ProgressBar) -> None:
    trials = read_trials(folder, search.objective)
    ended = sum(trial.status != RUNNING for trial in trials)
    values = [trial.objective for trial in trials if trial.objective is not None]
    best = (max if search.objective.mode == "max" else min)(values) if values else None
    bar.show(ended, {} if best is None else {f"best {search.objective.name}": best})


def _open_run(search: _Search, store: RunStore, folder: Path) -> str:
    """Open the run of the search, or the one that an interrupted command had opened."""
    path = folder / "run_id"
    if path.is_file():
        run_id = path.read_text()
        if store.reopen(run_id):
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


def _finish(search: _Search, store: RunStore, folder: Path, run_id: str, console: Console) -> None:
    trials = read_trials(folder, search.objective)
    best = best_trial(trials)
    command = rerun_command(best, _pipeline_options(search.options.pipeline)) if best is not None else ""
    found = folder / "results"
    found.mkdir(exist_ok=True)
    (found / "search.json").write_text(json.dumps(summary(trials, search.objective, command), indent=1))
    if best is not None:
        draw_trials(trials, search.space, search.objective, found)
        store.tag(run_id, "best.trial", best.trial_id)
        store.tag(run_id, "best.run_id", best.run_id)
        store.tag(run_id, "best.weights", best.weights)
        assert best.objective is not None
        store.log_results(run_id, {"objective": best.objective})
    store.upload(run_id, found)
    store.end(run_id, "FINISHED")
    show_trials(console, trials, search.objective)
    console.print(f"Results    {found}", markup=False)
    if best is None:
        console.print("No trial ran to the end.")
    else:
        console.print(f"Weights    {best.weights}", markup=False, highlight=False)
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
    return [*texts, *(shlex.quote(text) for text in options.overrides)]


def _show_plan(console: Console, search: _Search, folder: Path) -> None:
    console.print(f"Search {search.name} (preset {search.preset})", markup=False)
    console.print(f"  objective  {search.objective.name}, {search.objective.mode}: {search.objective.meaning}")
    console.print(f"  listens to {search.stage}, {search.schedule.num_epochs} epochs a trial")
    if search.shared is not None:
        console.print(f"  shared     {', '.join(stage.name for stage in search.shared.stages)}")
    for dimension in search.space:
        console.print(f"  varies     {dimension}", markup=False, highlight=False)
    console.print(f"  trials     {search.schedule.num_trials}")
    console.print(f"  folder     {folder}", markup=False, highlight=False)
