"""``genvar data``: its commands and their options."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.commands.guarded import guarded
from pipeline.commands.options import Debug
from reid_core.data.datasets.find import describe_names

data = typer.Typer(help="Look at data sets before anything is trained.", no_args_is_help=True, rich_markup_mode=None)


@data.callback()
def _data() -> None:
    """Keep ``check`` a command of its own: a single command would take the place of its group."""


@data.command()
def check(
    dataset: Annotated[str, typer.Argument(help=f"{describe_names(synthetic=False)}.")],
    data_root: Annotated[Path, typer.Option(help="Folder that holds the data set.", envvar="DATA_ROOT")] = Path("data"),
    train_split: Annotated[
        str, typer.Option(help="trainval, or train: without the validation images, where a data set names them.")
    ] = "trainval",
    decode: Annotated[bool, typer.Option("--decode", help="Also decode every image.")] = False,
    num_cpus: Annotated[
        Optional[int],  # noqa: UP045 - typer reads it at run time
        typer.Option(min=1, help="CPUs that decode.", show_default="all"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print layout, version and counts of a data set beside the published ones; what is missing is named."""
    with guarded(debug=debug):
        from rich.console import Console

        from pipeline.data_check import check_data_set
        from reid_core.errors import UserError

        if train_split not in ("trainval", "train"):
            raise UserError(f'--train-split wants trainval or train, but got "{train_split}"')
        check_data_set(
            dataset,
            data_root,
            train_split=train_split,
            decode=decode,
            num_cpus=num_cpus,
            console=Console(soft_wrap=False),
        )
