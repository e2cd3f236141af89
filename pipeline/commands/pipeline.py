"""``genvar pipeline``: its options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.guarded import Debug, Home, guarded
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
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings under dotted names.", show_default=False),
    ] = None,
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="synthetic, market1501, dukemtmc-reid, msmt17, personx or folder.", show_default="synthetic"),
    ] = None,
    data_root: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder that holds the data set.", envvar="DATA_ROOT", show_default=False),
    ] = None,
    preset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="tiny (two CPU cores), small (one GPU) or paper (as published).",
            show_default="tiny for synthetic and folder, else paper",
        ),
    ] = None,
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Configuration file: YAML, JSON or TOML.", show_default=False),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Seed of every training stage (not of the rendered people).", show_default=False),
    ] = None,
    seeds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Several seeds, such as 0,1,2: one pipeline each.", show_default=False),
    ] = None,
    executor: Annotated[str, typer.Option(help="ray, or local (processes of this machine, for a debugger).")] = "ray",
    num_cpus: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="CPUs to use on this machine.", show_default="all"),
    ] = None,
    deterministic: Annotated[bool, typer.Option(help="Bit-identical results, also on a GPU; slower there.")] = False,
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, write nothing.")] = False,
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
