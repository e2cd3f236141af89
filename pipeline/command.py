"""``genvar pipeline``: options become a checked plan, the plan runs once a seed, and its results are printed."""

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from infra.compute.machine import available_cpus, available_gpus
from infra.compute.protocol import Compute
from infra.compute.ray_cluster import joins_cluster
from infra.home import Home, check_home, find_home
from infra.tracking.address import check_store, tracking_uri
from infra.tracking.store import FinishedRun, RunStore
from pipeline.config import configure, flat, parse_override, read_config_file
from pipeline.estimate import warn_of_cpus
from pipeline.plan import STAGES, Plan, check, contents, make_plan, read_by_workers
from pipeline.presets import preset
from pipeline.results import Outcome, read_outcome, show_outcome, show_seeds, write_seeds_page
from pipeline.runner import run_plan
from reid_core.errors import UserError
from stages.stage import Prospect, StageConfig

_log = logging.getLogger(__name__)

# Settings that reach several stages or choose the preset; each is an option of the command line as well.
_SHORTHANDS = ("preset", "dataset", "data_root", "seed")
_LONGEST_NAME = 120  # characters


@dataclass(frozen=True)
class Options:
    """Options of one command.

    Attributes:
        overrides: Texts such as ``joint.num_epochs=3``.
        dataset: Name of the data set.
        data_root: Folder that holds it.
        naming: Settings of ``data.naming``.
        preset: Name of the preset.
        config_file: Configuration file.
        seeds: Of the training stages, one pipeline each; empty keeps the configured ones.
        executor: ``ray`` or ``local``.
        num_cpus: CPUs to use.
        deterministic: Whether torch must use deterministic algorithms.
        first: This stage and every later one run again.
        last: No stage after this one runs.
        force: These stages run again.
        dry_run: Whether to only show what would happen.
        home: Where runs are kept.
    """

    overrides: tuple[str, ...] = ()
    dataset: str | None = None
    data_root: Path | None = None
    naming: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    config_file: Path | None = None
    seeds: tuple[int, ...] = ()
    executor: str = "ray"
    num_cpus: int | None = None
    deterministic: bool = False
    first: str | None = None
    last: str | None = None
    force: tuple[str, ...] = field(default=())
    dry_run: bool = False
    home: Path | None = None


def run_command(options: Options, console: Console) -> dict[int | None, Outcome]:
    """Check everything, then run the pipeline once a seed (or show what would run), and print the results.

    Args:
        options: Of the command line.
        console: For results, on standard output.

    Returns:
        What each seed ended with; nothing after a dry run.
    """
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    seeds: tuple[int | None, ...] = options.seeds or (None,)
    resolved = {seed: resolve(options, seed) for seed in seeds}
    _, first = resolved[seeds[0]]
    prospect = check(first, last=options.last)
    home = find_home(options.home)
    check_home(home)
    uri = tracking_uri(home)
    check_store(uri)
    with open_compute(options) as compute:
        dataset = str(getattr(first["data"], "dataset", "data"))
        store = RunStore(home, uri, dataset)
        # The seeds share their images: their content is read once.
        digests = {name: cache(digest) for name, digest in contents(first).items()}
        plans = {seed: (name, plan_of(options, configs, digests)) for seed, (name, configs) in resolved.items()}
        on_cluster = options.executor == "ray" and joins_cluster()
        if options.dry_run:
            for seed, (name, plan) in plans.items():
                _show_plan(console, plan, store, name, seed)
        else:
            compute.prepare(read_by_workers(first), written=home.root)
        # Of a cluster that is not joined, nothing is known; to ask for what is used here would start one.
        if not on_cluster and not available_gpus():
            _warn_of_cpus([plan for _, plan in plans.values()], store, prospect, options.num_cpus or available_cpus())
        if options.dry_run:
            return {}
        if on_cluster and not compute.num_gpus:
            _warn_of_cpus([plan for _, plan in plans.values()], store, prospect, compute.num_cpus)
        outcomes = {
            seed: _run_one(plan, home, store, compute, name, name_of(dataset, name, seed, options.overrides), seed)
            for seed, (name, plan) in plans.items()
        }
    for seed, outcome in outcomes.items():
        if seed is not None and len(outcomes) > 1:
            console.rule(f"seed {seed}", align="left")
        show_outcome(console, outcome, home.root)
    if len(outcomes) > 1:
        show_seeds(console, {seed: outcome for seed, outcome in outcomes.items() if seed is not None})
        preset_name = resolved[seeds[0]][0]
        write_seeds_page(
            {name_of(dataset, preset_name, seed, options.overrides): one for seed, one in outcomes.items()},
            home.root / f"seeds-{dataset}-{preset_name}.html",
            console,
        )
    return outcomes


def resolve(options: Options, seed: int | None) -> tuple[str, dict[str, StageConfig]]:
    """Return the preset's name and the configuration of every stage; what comes later wins: preset, file, options."""
    file = read_config_file(options.config_file) if options.config_file is not None else {}
    overrides = [parse_override(text) for text in options.overrides]
    short: dict[str, Any] = {name: file.pop(name) for name in _SHORTHANDS if name in file}
    short |= {key: value for key, value in overrides if key in _SHORTHANDS}
    given = {"preset": options.preset, "dataset": options.dataset, "data_root": options.data_root, "seed": seed}
    short |= {name: value for name, value in given.items() if value is not None}
    overrides = [(key, value) for key, value in overrides if key not in _SHORTHANDS]

    dataset = str(short.get("dataset") or _given_dataset(file, overrides) or "synthetic")
    name, chosen = preset(None if short.get("preset") is None else str(short["preset"]), dataset)
    if (root := short.get("data_root")) and dataset != "synthetic":
        overrides.insert(0, ("data.data_root", Path(str(root)).expanduser().absolute()))
    overrides += [(f"data.naming.{name}", value) for name, value in options.naming.items()]
    chosen_seed = short.get("seed")
    if chosen_seed is not None and not (isinstance(chosen_seed, int) and 0 <= chosen_seed < 2**31):
        raise UserError(f"seed should be a whole number from 0 to 2147483647, but {chosen_seed!r} came; correct it")
    return name, configure(STAGES, chosen, file=file, overrides=overrides, seed=chosen_seed)


def _given_dataset(file: Mapping[str, Any], overrides: list[tuple[str, Any]]) -> Any:
    section = file.get("data")
    in_file = section.get("dataset") if isinstance(section, dict) else None
    return dict(overrides).get("data.dataset", in_file)


def plan_of(
    options: Options, configs: Mapping[str, StageConfig], digests: Mapping[str, Callable[[], str | None]] | None = None
) -> Plan:
    """Return what options and configurations ask to run; ``digests`` of what is read from outside, where known."""
    models: Mapping[str, BaseModel] = configs
    return make_plan(
        STAGES,
        configs,
        digests if digests is not None else contents(models),
        first=options.first,
        last=options.last,
        force=options.force,
        deterministic=options.deterministic,
    )


@contextlib.contextmanager
def open_compute(options: Options) -> Iterator[Compute]:
    """Return the chosen compute, checked and not started; ended with the block."""
    compute: Any
    if options.executor not in ("ray", "local"):
        raise UserError(f'--executor wants ray or local, but got "{options.executor}"')
    if options.executor == "ray":
        from infra.compute.ray import RayCompute

        compute = RayCompute(num_cpus=options.num_cpus, deterministic=options.deterministic)
        compute.check()
    else:
        from infra.compute.local import LocalCompute

        compute = LocalCompute(num_cpus=options.num_cpus, deterministic=options.deterministic)
    try:
        yield compute
    finally:
        compute.close()


def _warn_of_cpus(plans: Sequence[Plan], store: RunStore, prospect: Prospect, num_cpus: int) -> None:
    """Warn of weeks of training; a stage that a finished run serves for takes no time."""
    times = Counter(stage.name for plan in plans for stage in plan.stages)
    for plan in plans:
        times.subtract(list(_finished(plan, store)))  # a mapping would be taken for counts
    warn_of_cpus(plans[0].configs, times, prospect, num_cpus)


def _finished(plan: Plan, store: RunStore) -> Mapping[str, FinishedRun]:
    """Return the finished runs that stages of a plan would reuse."""
    return store.find_finished({n: p for n, p in plan.fingerprints.items() if n not in plan.again})


def _run_one(
    plan: Plan, home: Home, store: RunStore, compute: Compute, preset_name: str, name: str, seed: int | None
) -> Outcome:
    tags = {"preset": preset_name, **({"seed": str(seed)} if seed is not None else {})}
    if seed is not None:
        _log.info("pipeline with seed %d", seed)
    stages = run_plan(
        plan,
        home,
        store,
        compute,
        tags=tags,
        headline=lambda found: read_outcome(found).numbers(),
        labels=lambda found: read_outcome(found).labels(),
        name=name,
    )
    return read_outcome(stages)


def name_of(dataset: str, preset_name: str, seed: int | None, overrides: Sequence[str] = ()) -> str:
    """Return the name under which a pipeline is compared with others: what it was asked for beyond the defaults."""
    changed = [text for text in overrides if text.split("=")[0] not in _SHORTHANDS]
    words = [dataset, preset_name, *(["seed " + str(seed)] if seed is not None else []), *changed]
    text = " ".join(words)
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 3] + "..."


def _show_plan(console: Console, plan: Plan, store: RunStore, preset_name: str, seed: int | None) -> None:
    """Print what would run, and the resolved configuration."""
    finished = _finished(plan, store)
    title = f"Plan (preset {preset_name}" + (f", seed {seed})" if seed is not None else ")")
    table = Table(title=title, title_justify="left")
    for heading in ("stage", "would be", "reads", "fingerprint"):
        table.add_column(heading)
    for stage in plan.stages:
        what = "reused" if stage.name in finished else "run"
        table.add_row(stage.name, what, ", ".join(stage.needs), plan.fingerprints[stage.name][:16])
    console.print(table)
    for key, value in flat({stage.name: plan.configs[stage.name] for stage in plan.stages}).items():
        console.print(f"{key}={value}", markup=False, highlight=False)
