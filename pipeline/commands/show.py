"""``genvar show``: its options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug, Home


def show(
    run: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Argument(metavar="[RUN]", help="Name or id of a pipeline.", show_default="the newest one"),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of the pictures.", show_default="pictures/RUN in the home"),
    ] = None,
    num_queries: Annotated[int, typer.Option(min=1, max=100, help="Rows of a picture of ranked lists.")] = 8,
    list_length: Annotated[int, typer.Option(min=1, max=100, help="Gallery images of a ranked list.")] = 10,
    num_people: Annotated[int, typer.Option(min=2, max=100, help="Rows of generated people.")] = 8,
    num_clusters: Annotated[int, typer.Option(min=1, max=100, help="Rows of a sheet of clusters.")] = 8,
    num_mapped: Annotated[int, typer.Option(min=0, max=20_000, help="Images of the t-SNE maps; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Draws queries, and people of the maps.")] = 0,
    num_cpus: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="CPUs to use.", show_default="all"),
    ] = None,
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
