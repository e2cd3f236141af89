"""Commands that run pipelines: ``pipeline``, ``tune``, ``reproduce``; and ``ui``, which shows what they ran."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import (
    CameraFrom,
    ConfigFile,
    DataRoot,
    Dataset,
    Debug,
    Deterministic,
    DryRun,
    Executor,
    Home,
    NamePattern,
    NumCpus,
    Overrides,
    PresetName,
    Seed,
    Seeds,
    Table,
    naming_of,
)
from pipeline.tune.objective import OBJECTIVES
from pipeline.tune.space import READY_SPACES
from reid_core.errors import UserError


def pipeline(
    overrides: Overrides = None,
    dataset: Dataset = None,
    data_root: DataRoot = None,
    camera_from: CameraFrom = None,
    name_pattern: NamePattern = None,
    table: Table = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    seed: Seed = None,
    seeds: Seeds = None,
    executor: Executor = "ray",
    num_cpus: NumCpus = None,
    deterministic: Deterministic = False,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="STAGE", help="Run this stage and all later ones again.", show_default=False),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--until", metavar="STAGE", help="Stop after this stage.", show_default=False),
    ] = None,
    force: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help="Run this stage and those that read it again.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Run the pipeline: every stage from data to report.

    A stage whose configuration, inputs and code version have been run before is reused. A command that was interrupted
    or killed continues where it stood when it is given again. Settings come from the preset, then the configuration
    file, then the command line; the last one wins.

    \b
        genvar pipeline joint.num_epochs=3 joint.contrast.temperature=0.05
        genvar pipeline --until identity --dry-run         what would run, and every setting with its value
        genvar pipeline --seeds 0,1,2                      mean and deviation over three trainings on the same data
        genvar pipeline --config experiment.yaml           sections named like the stages, plus preset, dataset, seed

    Where results go: --home, else GENVAR_HOME, else the folder runs of a source checkout. MLFLOW_TRACKING_URI and
    RAY_ADDRESS use a server and a cluster of your own.
    """  # noqa: D301 - click wants a backspace there
    with guarded(debug=debug):
        chosen_seeds = parse_seeds(seed, seeds)
        from rich.console import Console

        from pipeline.command import Options, run_command

        options = Options(
            overrides=tuple(overrides or ()),
            dataset=dataset,
            data_root=data_root,
            naming=naming_of(camera_from, name_pattern, table),
            preset=preset,
            config_file=config,
            seeds=chosen_seeds,
            executor=executor,
            num_cpus=num_cpus,
            deterministic=deterministic,
            first=first,
            last=last,
            force=tuple(force or ()),
            dry_run=dry_run,
            home=home,
        )
        run_command(options, Console(soft_wrap=True))


def tune(
    space: Annotated[
        str | None,
        typer.Argument(metavar="[SPACE]", help=f"{', '.join(READY_SPACES)}, or a YAML file.", show_default=False),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=RANGE", help="A setting that varies; may be given often.", show_default=False),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(objective.name for objective in OBJECTIVES)}.",
            show_default="by the searched settings",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, max=10_000, help="Trials in all.")] = 16,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at the same time.", show_default="as many as fit"),
    ] = None,
    cpus_per_trial: Annotated[int, typer.Option(min=1, help="CPUs of one trial.")] = 1,
    gpus_per_trial: Annotated[float, typer.Option(min=0.0, help="GPUs of one trial; 0.5 shares one.")] = 0.0,
    grace_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="No trial is stopped before.", show_default="a quarter of the epochs"),
    ] = None,
    reduction: Annotated[int, typer.Option(min=0, help="One trial in so many goes on; 0 stops none.")] = 2,
    search_seed: Annotated[int, typer.Option(min=0, help="Seed of the proposals.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of all trials.", show_default=False),
    ] = None,
    dataset: Dataset = None,
    data_root: DataRoot = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    num_cpus: NumCpus = None,
    deterministic: Deterministic = False,
    dry_run: DryRun = False,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Search settings: trials of the pipeline side by side, those that fall behind stopped early.

    Stages above the first searched setting run once and are shared. The objective needs no labels unless
    --objective labelled-mAP asks for them. A search that was interrupted or killed continues by the same command.

    \b
        genvar tune contrast                               ready spaces: contrast, clustering, generator
        genvar tune --vary "joint.lr=log(1e-4, 1e-2)" --vary "joint.mixing=choice(dmixup, fmixup)"
        genvar tune space.yaml --trials 32 --dry-run       a file that maps settings to such texts
        genvar tune contrast --set joint.num_epochs=4      settings that all trials share
    """  # noqa: D301 - click wants a backspace there
    with guarded(debug=debug):
        from rich.console import Console

        from pipeline.command import Options
        from pipeline.tune.prepare import SearchOptions
        from pipeline.tune.tune import run_search

        pipeline = Options(
            overrides=tuple(settings or ()),
            dataset=dataset,
            data_root=data_root,
            preset=preset,
            config_file=config,
            num_cpus=num_cpus,
            deterministic=deterministic,
            dry_run=dry_run,
            home=home,
        )
        options = SearchOptions(
            pipeline=pipeline,
            space=space,
            vary=tuple(vary or ()),
            objective=objective,
            num_trials=trials,
            concurrency=concurrency,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            grace_epochs=grace_epochs,
            reduction=reduction,
            seed=search_seed,
        )
        run_search(options, Console(soft_wrap=True))


def reproduce(
    overrides: Overrides = None,
    dataset: Dataset = "synthetic",
    data_root: DataRoot = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    seed: Seed = None,
    seeds: Seeds = None,
    expected: Annotated[
        Path | None,
        typer.Option(help="Expected figures.", show_default="those of the project"),
    ] = None,
    executor: Executor = "ray",
    num_cpus: NumCpus = None,
    deterministic: Deterministic = False,
    dry_run: DryRun = False,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Run a preset and compare its scores with expected figures.

    Exit code 0: every figure is within its tolerance; 1: one is not; 2: a mistake in the command. The figures of the
    project and where each comes from are in pipeline/expected.yaml; --expected takes a file of your own of that form.
    """
    with guarded(debug=debug):
        chosen = parse_seeds(seed, seeds) or (0,)
        from rich.console import Console

        from pipeline.command import Options
        from pipeline.reproduce import reproduce as run_and_compare

        options = Options(
            overrides=tuple(overrides or ()),
            dataset=dataset,
            data_root=data_root,
            preset=preset,
            config_file=config,
            seeds=chosen,
            executor=executor,
            num_cpus=num_cpus,
            deterministic=deterministic,
            dry_run=dry_run,
            home=home,
        )
        is_right = run_and_compare(options, expected, Console(soft_wrap=True))
    if not is_right:
        raise typer.Exit(1)


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of http://127.0.0.1.")] = 5000,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Serve the MLflow page that compares runs, for this machine only; Ctrl-C ends it."""
    with guarded(debug=debug):
        serve_page(home, port)


def serve_page(home: Path | None, port: int) -> None:
    """Replace this process by an MLflow server that only this machine reaches."""
    from infra.home import find_home
    from infra.tracking.address import known_store, tracking_uri
    from infra.tracking.secrets import redacted

    found = find_home(home)
    if (uri := tracking_uri(found)).startswith(("http://", "https://")):
        raise UserError(f"the runs are on a server already (MLFLOW_TRACKING_URI); open {redacted(uri)} in a browser")
    uri = known_store(found)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port} is taken ({error.strerror}); choose another one with --port") from error
    os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    where = ["--backend-store-uri", uri, "--artifacts-destination", str(found.artifacts)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *address, *where])


def parse_seeds(seed: int | None, seeds: str | None) -> tuple[int, ...]:
    """Return the seeds that ``--seed`` or ``--seeds`` asks for; none keeps the configured ones."""
    if seed is not None and seeds is not None:
        raise UserError("give --seed or --seeds, not both")
    if seeds is None:
        return () if seed is None else (seed,)
    try:
        found = tuple(int(part) for part in seeds.replace(",", " ").split())
    except ValueError as error:
        raise UserError(f'--seeds wants whole numbers such as 0,1,2, but got "{seeds}"') from error
    if not found or len(set(found)) < len(found):
        raise UserError(f'--seeds wants different whole numbers such as 0,1,2, but got "{seeds}"')
    return found
