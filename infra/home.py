"""The folder in which genvar keeps its runs, and a check that there is room for more."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from reid_core.data.datasets.tree import mark_results
from reid_core.data.path_safety import absolute
from reid_core.errors import UserError

MIN_FREE_BYTES = 1_000_000_000
_SHOWN_OF_PATH = 200  # characters


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
        return Home(absolute(explicit))
    if named := os.environ.get("GENVAR_HOME"):
        return Home(absolute(Path(named)))
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "reid_core").is_dir():
        return Home(checkout / "runs")
    return Home(Path.home() / "genvar")


def check_writable(path: Path, advice: str) -> Path:
    """Refuse a file or folder that could not be written; writes nothing.

    Args:
        path: It need not exist, nor need the folders that it lies in.
        advice: End of the sentence: what to do instead.

    Returns:
        The nearest folder that is there.
    """
    there = path.absolute()
    while not os.path.lexists(there):
        try:
            there.lstat()
        except (FileNotFoundError, NotADirectoryError):
            there = there.parent
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{str(path)[:_SHOWN_OF_PATH]} cannot be written ({reason}); {advice}") from error
    if not there.is_dir():
        if there != path.absolute():
            raise UserError(f"{path} cannot be written, because {there} is a file; {advice}")
        if there.exists() and not os.access(there, os.W_OK):
            raise UserError(f"no permission to write the file {there}; {advice}")
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write into {there}; {advice}")
    return there


def check_home(home: Home) -> None:
    """Refuse a home that cannot be written to or has too little room; writes nothing."""
    if os.path.exists(home.root) and not home.root.is_dir():  # noqa: PTH110 - of any text, without an error
        raise UserError(f"the home {home.root} should be a folder, but is a file; choose another --home")
    advice = "choose another folder with --home or GENVAR_HOME"
    folder = check_writable(home.root, advice)
    for path in (home.database, home.artifacts, home.work, home.cache):
        check_writable(path, advice)
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"at least {MIN_FREE_BYTES / 1e9:.1f} GB of free disk space are wanted in {folder}, but {free / 1e9:.2f} "
            "GB are left; free some (genvar gc --dry-run shows what can go), or choose a folder on another disk with "
            "--home or GENVAR_HOME"
        )
