"""``genvar search``: its options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.embed import Executor, Flip, FullPrecision, Run
from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug, Home, NumCpus


def search(
    query: Annotated[Path, typer.Argument(help="Whom to find: a picture, a folder, or a Parquet file of features.")],
    gallery: Annotated[Path, typer.Argument(help="Where to look: a folder, or a Parquet file of features.")],
    run: Run = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Pictures of each ranked list.")] = 10,
    threshold: Annotated[
        Optional[float],  # noqa: UP045 - typer reads it at run time
        typer.Option(min=-1, max=1, help="Similarity of the same person.", show_default="suggested"),
    ] = None,
    num_shown: Annotated[int, typer.Option(min=0, max=200, help="Queries of the picture.")] = 12,
    out: Annotated[Path, typer.Option(help="Folder for hits.parquet and hits.png.")] = Path("search"),
    flip: Flip = False,
    full_precision: FullPrecision = False,
    executor: Executor = "local",
    num_cpus: NumCpus = None,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Rank the pictures of a gallery by how much they look like each query: a table, a Parquet file and a picture."""
    with guarded(debug=debug):
        from rich.console import Console

        from infra.home import find_home
        from pipeline.command import Options, open_compute
        from pipeline.retrieve import Search, run_search
        from pipeline.trained_encoder import find_encoder

        settings = Search(query, gallery, top, threshold, num_shown, flip=flip, mixed_precision=not full_precision)
        with open_compute(Options(executor=executor, num_cpus=num_cpus)) as compute:
            run_search(settings, run, lambda name: find_encoder(name, find_home(home)), compute, out, Console())
