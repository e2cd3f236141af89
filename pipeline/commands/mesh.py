"""``genvar mesh``: its commands and their options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug

mesh = typer.Typer(help="Look at the bodies that were placed into images.", no_args_is_help=True, rich_markup_mode=None)


@mesh.callback()
def _mesh() -> None:
    """Keep ``inspect`` a command of its own: a single command would take the place of its group."""


@mesh.command()
def inspect(
    cache: Annotated[Path, typer.Argument(help="Folder mesh_cache, or the results of a mesh stage that hold it.")],
    out: Annotated[Path, typer.Option(help="Contact sheet to write.")] = Path("mesh_sheet.png"),
    data: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
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
