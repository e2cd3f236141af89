"""Commands that look at what is there: runs (``show``, ``compare``, ``gc``), data sets and bodies (``mesh``)."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import CameraFrom, Debug, Home, NamePattern, NumCpus, Table, naming_of
from reid_core.data.datasets.find import describe_names

data = typer.Typer(help="Look at data sets before anything is trained.", no_args_is_help=True, rich_markup_mode=None)
mesh = typer.Typer(help="Look at the bodies that were placed into images.", no_args_is_help=True, rich_markup_mode=None)


def show(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Name or id of a pipeline.", show_default="the newest one"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the pictures.", show_default="pictures/RUN in the home"),
    ] = None,
    num_queries: Annotated[int, typer.Option(min=1, max=100, help="Rows of a picture of ranked lists.")] = 8,
    list_length: Annotated[int, typer.Option(min=1, max=100, help="Gallery images of a ranked list.")] = 10,
    num_people: Annotated[int, typer.Option(min=2, max=100, help="Rows of generated people.")] = 8,
    num_clusters: Annotated[int, typer.Option(min=1, max=100, help="Rows of a sheet of clusters.")] = 8,
    num_mapped: Annotated[int, typer.Option(min=0, max=20_000, help="Images of the t-SNE maps; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Draws queries, and people of the maps.")] = 0,
    num_cpus: NumCpus = None,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Draw ranked lists, maps, generated people and clusters of a finished pipeline, and store them with its run."""
    with guarded(debug=debug):
        from rich.console import Console

        from infra.home import find_home
        from pipeline.show import Amounts
        from pipeline.show import show as draw_and_store

        amounts = Amounts(num_queries, list_length, num_people, num_clusters, num_mapped, seed)
        draw_and_store(find_home(home), run, out, amounts, num_cpus=num_cpus, console=Console(soft_wrap=True))


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Names or ids of pipelines.", show_default="the newest eight"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Page to write.", show_default="compare.html in the home"),
    ] = None,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Put pipelines side by side: scores with mean and deviation over seeds, settings that differ, curves."""
    with guarded(debug=debug):
        from rich.console import Console

        from infra.home import find_home
        from pipeline.compare import compare as put_side_by_side

        put_side_by_side(find_home(home), runs or [], out, Console(soft_wrap=False))


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    stopped: Annotated[
        bool, typer.Option("--stopped", help="Also stages that were stopped, which the same command would continue.")
    ] = False,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Free disk space: leftovers of finished work, downloads, artifacts of runs deleted in MLflow.

    What a finished pipeline needs stays. To let go of a finished one, delete its runs in the page of genvar ui first.
    """
    with guarded(debug=debug):
        from rich.console import Console

        from infra.home import find_home
        from pipeline.gc import collect

        collect(find_home(home), dry_run=dry_run, stopped=stopped, console=Console(soft_wrap=True))


@data.callback()
def _data() -> None:
    """Keep ``check`` a command of its own: a single command would take the place of its group."""


@data.command()
def check(
    dataset: Annotated[str, typer.Argument(help=f"{describe_names(synthetic=False)}.")],
    data_root: Annotated[Path, typer.Option(help="Folder that holds the data set.", envvar="DATA_ROOT")] = Path("data"),
    train_split: Annotated[
        Literal["trainval", "train"], typer.Option(help="train: without the validation images, where there are some.")
    ] = "trainval",
    camera_from: CameraFrom = None,
    name_pattern: NamePattern = None,
    table: Table = None,
    decode: Annotated[bool, typer.Option("--decode", help="Also decode every image.")] = False,
    num_cpus: NumCpus = None,
    debug: Debug = False,
) -> None:
    """Print layout, version and counts of a data set beside the published ones; what is missing is named."""
    with guarded(debug=debug):
        from rich.console import Console

        from pipeline.data_check import check_data_set
        from reid_core.data.datasets.base import Naming

        check_data_set(
            dataset,
            data_root,
            train_split=train_split,
            decode=decode,
            num_cpus=num_cpus,
            console=Console(soft_wrap=False),
            naming=Naming(**naming_of(camera_from, name_pattern, table)),
        )


@mesh.callback()
def _mesh() -> None:
    """Keep ``inspect`` a command of its own: a single command would take the place of its group."""


@mesh.command()
def inspect(
    cache: Annotated[Path, typer.Argument(help="Folder mesh_cache, or the results of a mesh stage that hold it.")],
    out: Annotated[Path, typer.Option(help="Contact sheet to write.")] = Path("mesh_sheet.png"),
    data: Annotated[
        Path | None,
        typer.Option(help="Results of the data stage, for its photographs.", show_default="the ones it was made from"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=500, help="Images on the contact sheet.")] = 12,
    debug: Debug = False,
) -> None:
    """Print counts by status, confidence, fit and size of a mesh cache, and draw some of its bodies."""
    with guarded(debug=debug):
        from rich.console import Console

        from pipeline.mesh_inspect import inspect_cache

        inspect_cache(cache, out, data, rows=rows, console=Console(soft_wrap=False))
