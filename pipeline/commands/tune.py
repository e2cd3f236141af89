"""``genvar tune``: its options."""

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
    Home,
    NumCpus,
    PresetName,
)

HELP = """Search settings: trials of the pipeline side by side, those that fall behind stopped early.

Stages above the first searched setting run once and are shared. The objective needs no labels unless
--objective labelled-mAP asks for them. A search that was interrupted or killed continues by the same command.

\b
    genvar tune contrast                               ready spaces: contrast, clustering, generator
    genvar tune --vary "joint.lr=log(1e-4, 1e-2)" --vary "joint.mixing=choice(dmixup, fmixup)"
    genvar tune space.yaml --trials 32 --dry-run       a file that maps settings to such texts
    genvar tune contrast --set joint.num_epochs=4      settings that all trials share
"""


def tune(
    space: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Argument(metavar="[SPACE]", help="contrast, clustering, generator, or a YAML file.", show_default=False),
    ] = None,
    vary: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="KEY=RANGE", help="A setting that varies; may be given often.", show_default=False),
    ] = None,
    objective: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="silhouette-all, clustered-agreement, agreement, silhouette, cycle, or labelled-mAP.",
            show_default="by the searched settings",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, max=10_000, help="Trials in all.")] = 16,
    concurrency: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Trials at the same time.", show_default="as many as fit"),
    ] = None,
    cpus_per_trial: Annotated[int, typer.Option(min=1, help="CPUs of one trial.")] = 1,
    gpus_per_trial: Annotated[float, typer.Option(min=0.0, help="GPUs of one trial; 0.5 shares one.")] = 0.0,
    grace_epochs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="No trial is stopped before.", show_default="a quarter of the epochs"),
    ] = None,
    reduction: Annotated[int, typer.Option(min=0, help="One trial in so many goes on; 0 stops none.")] = 2,
    search_seed: Annotated[int, typer.Option(min=0, help="Seed of the proposals.")] = 0,
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045
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
    """Read the options; see ``pipeline.tune.tune``."""
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
