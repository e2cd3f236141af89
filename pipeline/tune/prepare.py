"""Options of a search, checked as a whole before anything starts."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from infra.compute.machine import available_cpus, available_gpus
from infra.tracking.store import RunStore
from pipeline.command import Options, plan_of, resolve
from pipeline.estimate import warn_of_cpus
from pipeline.plan import STAGES, Plan, check
from pipeline.tune.objective import Objective, find_objective, listened_stage
from pipeline.tune.ray_tune import Schedule
from pipeline.tune.space import Dimension, check_space, read_space
from reid_core.errors import UserError
from stages import data
from stages.stage import Prospect, StageConfig


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
class Search:
    """A search that was checked.

    Attributes:
        options: It was asked for by.
        space: Settings that vary.
        objective: What trials are compared by.
        stage: Whose epochs are listened to; a trial ends with it.
        preset: Name of the preset.
        configs: Of every stage, before anything varies.
        prospect: Of the images.
        shared: Stages above the first that varies; None where there is none.
        schedule: How many trials, and which of them are stopped early.
        name: Known by what would change its results, so that the same command continues it.
    """

    options: SearchOptions
    space: tuple[Dimension, ...]
    objective: Objective
    stage: str
    preset: str
    configs: Mapping[str, StageConfig]
    prospect: Prospect
    shared: Plan | None
    schedule: Schedule
    name: str

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(getattr(self.configs["data"], "dataset", "data"))


def prepare(options: SearchOptions) -> Search:
    """Check the whole search; starts nothing and writes nothing.

    Args:
        options: Of the command line.

    Returns:
        The search.

    Raises:
        UserError: For what cannot be searched, in one sentence.
    """
    base = options.pipeline
    if base.executor != "ray":
        raise UserError("a search runs on Ray; leave --executor out")
    space = read_space(options.space, options.vary)
    preset, configs = resolve(base, None)

    look = cache(data.check)  # the images are the same for all values
    prospect = check(configs, look=look)

    def configure(overrides: Any) -> None:
        texts = tuple(f"{key}={json.dumps(value)}" for key, value in overrides)
        _, varied = resolve(dataclasses.replace(base, overrides=(*base.overrides, *texts)), None)
        check(varied, look=look)

    check_space(space, configure)
    searched = {dimension.stage for dimension in space}
    objective = find_objective(options.objective, searched)
    stage = listened_stage(objective, searched, {stage.name: stage.needs for stage in STAGES})
    num_epochs = int(getattr(configs[stage], "num_epochs"))  # noqa: B009 - every stage that is listened to has it
    if f"{stage}.num_epochs" in {dimension.key for dimension in space}:
        raise UserError(f"{stage}.num_epochs is what trials are compared over, so it cannot vary; leave it out")
    if num_epochs < 1:
        raise UserError(f"trials are compared by their epochs, but {stage}.num_epochs is {num_epochs}; raise it")
    check_objective(objective, stage, configs, prospect)
    if options.concurrency is not None and options.concurrency > options.num_trials:
        raise UserError(f"{options.concurrency} trials at the same time are more than {options.num_trials} trials")
    if options.reduction == 1:
        raise UserError("--reduction 1 lets every trial go on; give 0 to stop none, or 2 to stop the worse half")
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
    return Search(options, space, objective, stage, preset, configs, prospect, shared, schedule, f"{label}-{digest}")


def check_objective(objective: Objective, stage: str, configs: Mapping[str, Any], prospect: Prospect) -> None:
    """Refuse an objective that no trial could log.

    Args:
        objective: Of the search.
        stage: Whose epochs are listened to.
        configs: Of every stage.
        prospect: Of the images.
    """
    reason = ""
    if objective.uses_labels and prospect.not_ranked is not None:
        reason = prospect.not_ranked
    elif "agreement" in objective.name and configs[stage].num_epochs < 2:
        reason = f"{stage}.num_epochs=1 leaves no epoch before to agree with"
    elif objective.name == "cycle" and configs["mesh"].source == "none":
        reason = "mesh.source=none leaves nobody who could be turned and turned back"
    elif objective.name == "cycle" and not configs[stage].generation(configs[stage].num_epochs - 1).rotation:
        reason = f"the {stage} stage turns nobody in its {configs[stage].num_epochs} epochs (its settings of rotation)"
    if reason:
        raise UserError(
            f"the objective {objective.name} cannot be measured: {reason.rstrip('.')}; choose another --objective"
        )


def warn_of_long_search(search: Search) -> None:
    """Warn when the trials of a search take long without a GPU; pruning makes it shorter."""
    if search.options.gpus_per_trial and available_gpus():
        return
    names = [stage.name for stage in STAGES]
    once = {stage.name for stage in search.shared.stages} if search.shared is not None else set()
    times = {name: 1 if name in once else search.schedule.num_trials for name in names[: names.index(search.stage) + 1]}
    warn_of_cpus(search.configs, times, search.prospect, search.options.pipeline.num_cpus or available_cpus())


def show_search(console: Console, search: Search, store: RunStore, folder: Path) -> None:
    """Print what a search would do.

    Args:
        console: For results, on standard output.
        search: The search.
        store: Where finished stages are looked for.
        folder: In which the search would be kept.
    """
    schedule = search.schedule
    lines = [
        ("objective", f"{search.objective.name}, {search.objective.mode}: {search.objective.meaning}"),
        ("listens to", f"{search.stage}, {schedule.num_epochs} epochs a trial"),
    ]
    if search.shared is not None:
        finished = store.find_finished(search.shared.fingerprints)
        names = [
            f"{stage.name} (would be {'reused' if stage.name in finished else 'run'})" for stage in search.shared.stages
        ]
        lines.append(("shared", ", ".join(names)))
    lines += [("varies", str(dimension)) for dimension in search.space]
    at_once = f", {schedule.concurrency} at the same time" if schedule.concurrency else ""
    lines.append(("trials", f"{schedule.num_trials}{at_once}"))
    rungs = rungs_of(schedule)
    if rungs:
        epochs = ", ".join(map(str, rungs))
        lines.append(("pruning", f"after {epochs} epochs, the best one in {schedule.reduction} goes on"))
    else:
        lines.append(("pruning", "none"))
    lines.append(("folder", f"{folder}{', which would be continued' if folder.is_dir() else ''}"))
    console.print(f"Search {search.name} (preset {search.preset})", markup=False)
    for name, text in lines:
        console.print(f"  {name:11s}{text}", markup=False, highlight=False)


def rungs_of(schedule: Schedule) -> list[int]:
    """Return the epochs after which trials are compared, before the last one."""
    rungs = []
    epoch = schedule.grace_epochs
    while schedule.reduction > 1 and epoch < schedule.num_epochs:
        rungs.append(epoch)
        epoch *= schedule.reduction
    return rungs
