"""``genvar compare``: its options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug, Home


def compare(
    runs: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Argument(metavar="[RUN]...", help="Names or ids of pipelines.", show_default="the newest eight"),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
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
