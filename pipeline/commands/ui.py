"""``genvar ui``: its options."""

from typing import Annotated

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug, Home


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of http://127.0.0.1.")] = 5000,
    home: Home = None,
    debug: Debug = False,
) -> None:
    """Serve the MLflow page that compares runs, for this machine only; Ctrl-C ends it."""
    with guarded(debug=debug):
        from infra.home import find_home
        from pipeline.ui import serve

        serve(find_home(home), port)
