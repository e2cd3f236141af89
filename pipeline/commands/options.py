"""Options that several commands share, so that they are called and explained alike."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from reid_core.data.datasets.find import SYNTHETIC, describe_names

# typer reads the types when a command starts, where Python 3.10's unions of None are of no use to it: Optional.
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings under dotted names.", show_default=False),
]
Dataset = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help=f"{describe_names()}.", show_default=SYNTHETIC),
]
DataRoot = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder that holds the data set.", envvar="DATA_ROOT", show_default=False),
]
PresetName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="tiny (two CPU cores), small (one GPU) or paper (as published).",
        show_default="tiny for synthetic and folder, else paper",
    ),
]
ConfigFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Configuration file: YAML, JSON or TOML.", show_default=False),
]
Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Seed of every training stage (not of the rendered people).", show_default=False),
]
Seeds = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Several seeds, such as 0,1,2: one pipeline each.", show_default=False),
]
Executor = Annotated[str, typer.Option(help="ray, or local (processes of this machine, for a debugger).")]
NumCpus = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="CPUs to use on this machine.", show_default="all"),
]
Deterministic = Annotated[bool, typer.Option(help="Bit-identical results, also on a GPU; slower there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, write nothing.")]
Home = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--home", help="Folder that keeps the runs.", show_default=False),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and more of what happens.")]
