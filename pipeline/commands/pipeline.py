"""``genvar pipeline``: its options."""

from typing import Annotated, Optional

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import (
    ConfigFile,
    DataRoot,
    Dataset,
    Debug,
    Deterministic,
    DryRun,
    Executor,
    Home,
    NumCpus,
    Overrides,
    PresetName,
    Seed,
    Seeds,
)
from reid_core.errors import UserError

HELP = """Run the pipeline: data, mesh, identity, generator, cluster, joint, evaluate, report.

A stage whose configuration, inputs and code version have been run before is reused. A command that was interrupted or
killed continues where it stood when it is given again. Settings come from the preset, then the configuration file,
then the command line; the last one wins.

\b
    genvar pipeline joint.num_epochs=3 joint.contrast.temperature=0.05
    genvar pipeline --until identity --dry-run         what would run, and every setting with its value
    genvar pipeline --seeds 0,1,2                      mean and deviation over three trainings on the same data
    genvar pipeline --config experiment.yaml           sections named like the stages, plus preset, dataset, seed

Where results go: --home, else GENVAR_HOME, else the folder runs of a source checkout. MLFLOW_TRACKING_URI and
RAY_ADDRESS use a server and a cluster of your own.
"""


def pipeline(
    overrides: Overrides = None,
    dataset: Dataset = None,
    data_root: DataRoot = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    seed: Seed = None,
    seeds: Seeds = None,
    executor: Executor = "ray",
    num_cpus: NumCpus = None,
    deterministic: Deterministic = False,
    first: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--from", metavar="STAGE", help="Run this stage and all later ones again.", show_default=False),
    ] = None,
    last: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--until", metavar="STAGE", help="Stop after this stage.", show_default=False),
    ] = None,
    force: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="STAGE", help="Run this stage and those that read it again.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Read the options; see ``pipeline.command``."""
    with guarded(debug=debug):
        chosen_seeds = parse_seeds(seed, seeds)
        from rich.console import Console

        from pipeline.command import Options, run_command

        options = Options(
            overrides=tuple(overrides or ()),
            dataset=dataset,
            data_root=data_root,
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
