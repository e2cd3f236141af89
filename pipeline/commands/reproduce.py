"""``genvar reproduce``: its options."""

from pathlib import Path
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
from pipeline.commands.pipeline import parse_seeds

HELP = """Run a preset and compare its scores with expected figures.

Exit code 0: every figure is within its tolerance; 1: one is not; 2: a mistake in the command. The figures of the
project and where each comes from are in pipeline/expected.yaml; --expected takes a file of your own of that form.
"""


def reproduce(
    overrides: Overrides = None,
    dataset: Dataset = "synthetic",
    data_root: DataRoot = None,
    preset: PresetName = None,
    config: ConfigFile = None,
    seed: Seed = None,
    seeds: Seeds = None,
    expected: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Expected figures.", show_default="those of the project"),
    ] = None,
    executor: Executor = "ray",
    num_cpus: NumCpus = None,
    deterministic: Deterministic = False,
    dry_run: DryRun = False,
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
