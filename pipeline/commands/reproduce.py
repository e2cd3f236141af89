"""``genvar reproduce``: its options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.guarded import Debug, Home, guarded
from pipeline.commands.pipeline import parse_seeds

HELP = """Run a preset and compare its scores with expected figures.

Exit code 0: every figure is within its tolerance; 1: one is not; 2: a mistake in the command. The figures of the
project and where each comes from are in pipeline/expected.yaml; --expected takes a file of your own of that form.
"""


def reproduce(
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings under dotted names.", show_default=False),
    ] = None,
    dataset: Annotated[str, typer.Option(help="As for the pipeline.")] = "synthetic",
    data_root: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder that holds the data set.", envvar="DATA_ROOT", show_default=False),
    ] = None,
    preset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="As for the pipeline.", show_default="tiny for synthetic, else paper"),
    ] = None,
    config: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Configuration file.", show_default=False),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Seed of every training stage.", show_default="0"),
    ] = None,
    seeds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Mean over several seeds, such as 0,1,2.", show_default=False),
    ] = None,
    expected: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Expected figures.", show_default="those of the project"),
    ] = None,
    executor: Annotated[str, typer.Option(help="ray or local.")] = "ray",
    num_cpus: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="CPUs to use on this machine.", show_default="all"),
    ] = None,
    deterministic: Annotated[bool, typer.Option(help="Bit-identical results, also on a GPU; slower there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, write nothing.")] = False,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Read the options; see ``pipeline.reproduce``."""
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
