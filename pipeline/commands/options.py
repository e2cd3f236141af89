"""Options that several commands share, so that they are called and explained alike."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reid_core.data.datasets.find import SYNTHETIC, describe_names

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings under dotted names.", show_default=False),
]
Dataset = Annotated[
    str | None,
    typer.Option(help=f"{describe_names()}.", show_default=SYNTHETIC),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder that holds the data set.", envvar="DATA_ROOT", show_default=False),
]
CameraFrom = Annotated[
    Literal["name", "folder"] | None,
    typer.Option(help="Of own photographs: folder makes each folder a camera.", show_default="name"),
]
NamePattern = Annotated[
    str | None,
    typer.Option(
        help=r"Of own photographs: a regular expression such as '(?P<person>\d+)_cam(?P<camera>\d+)'.",
        show_default="names like Market-1501's",
    ),
]
Table = Annotated[
    Path | None,
    typer.Option(help="Of own photographs: CSV or Parquet of path, camera, person, tracklet.", show_default=False),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        help="tiny (two CPU cores), small (one GPU) or paper (as published).",
        show_default="tiny for synthetic and folder, else paper",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(help="Configuration file: YAML, JSON or TOML.", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of every training stage (not of the rendered people).", show_default=False),
]
Seeds = Annotated[
    str | None,
    typer.Option(help="Several seeds, such as 0,1,2: one pipeline each.", show_default=False),
]
Executor = Annotated[Literal["ray", "local"], typer.Option(help="Ray, or processes of this machine alone.")]
NumCpus = Annotated[
    int | None,
    typer.Option(min=1, help="CPUs to use on this machine.", show_default="all"),
]
Deterministic = Annotated[bool, typer.Option(help="Bit-identical results, also on a GPU; slower there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, write nothing.")]
Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder that keeps the runs.", show_default=False),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and more of what happens.")]


def naming_of(camera_from: str | None, name_pattern: str | None, table: Path | None) -> dict[str, Any]:
    """Return the options on own photographs that were given, as settings of ``data.naming``."""
    given = {"camera_from": camera_from, "pattern": name_pattern, "table": table and table.expanduser().absolute()}
    return {name: value for name, value in given.items() if value is not None}
