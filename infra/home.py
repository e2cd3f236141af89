"""The folder in which genvar keeps its runs, and a check that there is room for more."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from reid_core.data.datasets.tree import mark_results
from reid_core.errors import UserError

MIN_FREE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Home:
    """The folder of everything that outlives a command; absolute, so that no working directory matters.

    Attributes:
        root: The folder itself; created only when work starts.
    """

    root: Path

    @property
    def database(self) -> Path:
        """SQLite file of the local MLflow store."""
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Artifacts of the local MLflow store."""
        return self.root / "artifacts"

    @property
    def work(self) -> Path:
        """Stages that are being worked on; a stage's folder goes once its artifacts are stored."""
        return self.root / "work"

    @property
    def cache(self) -> Path:
        """Artifacts downloaded from an MLflow server."""
        return self.root / "cache"

    def create(self) -> None:
        """Create the folder, and note there which of its contents are results: it may lie among somebody's pictures."""
        self.root.mkdir(parents=True, exist_ok=True)
        mark_results(self.root, ["artifacts", "work", "cache", "pictures", "searches"])


def find_home(explicit: Path | None = None) -> Home:
    """Return the home: ``explicit``, else GENVAR_HOME, else ``runs`` of a source checkout, else ``~/genvar``."""
    if explicit is not None:
        return Home(explicit.expanduser().absolute())
    if named := os.environ.get("GENVAR_HOME"):
        return Home(Path(named).expanduser().absolute())
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "reid_core").is_dir():
        return Home(checkout / "runs")
    return Home(Path.home() / "genvar")


def check_home(home: Home) -> None:
    """Refuse a home that cannot be written to or has too little room; writes nothing."""
    folder = home.root
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"the home {home.root} cannot be a folder, because {folder} is a file; choose another --home")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write into {folder}; choose another folder with --home or GENVAR_HOME")
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"at least {MIN_FREE_BYTES / 1e9:.1f} GB of free disk space are wanted in {folder}, but {free / 1e9:.2f} "
            "GB are left; free some, or choose a folder on another disk with --home or GENVAR_HOME"
        )
