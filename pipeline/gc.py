"""What of a home can go: leftovers of work, downloads, and artifacts of runs that were deleted in MLflow."""

import fcntl
import os
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.home import Home
from infra.tracking.address import check_store, tracking_uri
from infra.tracking.mlflow import mlflow_client
from infra.tracking.store import COMPLETION_MARKER, RunStore
from pipeline.work_dir import WorkDir

_WORK = re.compile(r"\w+-[0-9a-f]{16}")
_SECONDS_OF_A_DOWNLOAD = 3600.0  # one that is younger may still go on
_PAGE = 1000
_BLOCK = 512  # bytes that st_blocks counts
_REUSED = "reused."


@dataclass(frozen=True)
class Leftover:
    """A folder that can go.

    Attributes:
        path: The folder.
        why: What it is, in words.
        lock: File whose lock says that nobody works in the folder.
    """

    path: Path
    why: str
    lock: Path | None = None


def collect(home: Home, *, dry_run: bool, stopped: bool, console: Console) -> int:
    """Print what can go and how much that frees, and remove it.

    Args:
        home: Its work, cache and artifacts are looked through; whatever a finished pipeline reads stays.
        dry_run: Only print.
        stopped: Also let go of stages that were interrupted or failed, which the same command would continue.
        console: For the table.

    Returns:
        Bytes that were freed, or would be.
    """
    uri = tracking_uri(home)
    check_store(uri)
    store = RunStore(home, uri, "")
    runs = _all_runs(uri) if store.exists() else {}
    with ExitStack() as locks:
        leftovers = [
            *(one for one in _work(home, runs, stopped=stopped) if _is_free(one, locks)),
            *_downloads(home, store, runs),
            *_deleted(home, runs),
        ]
        before = disk_use([one.path for one in leftovers])
        _show(leftovers, console)
        if not dry_run:
            for one in leftovers:
                shutil.rmtree(one.path, ignore_errors=True)
    left = 0 if dry_run else disk_use([one.path for one in leftovers if one.path.exists()])
    done = "would be freed" if dry_run else "freed"
    console.print(f"{_megabytes(before - left)} {done} in {home.root}", markup=False, highlight=False)
    if left:
        console.print(f"{_megabytes(left)} could not be removed: see to the permissions", markup=False, highlight=False)
    return before - left


def disk_use(folders: Sequence[Path]) -> int:
    """Return the bytes of disk that go with folders; a file that is linked from elsewhere too does not go.

    Args:
        folders: With all that lies below them; links are not followed.
    """
    links: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, int], os.stat_result] = {}
    for folder in folders:
        for status in _statuses(folder):
            links[status.st_dev, status.st_ino] += 1
            found[status.st_dev, status.st_ino] = status
    is_folder = 0o040000
    return sum(
        status.st_blocks * _BLOCK
        for key, status in found.items()
        if status.st_mode & 0o170000 == is_folder or links[key] == status.st_nlink
    )


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    yield folder.lstat()
    for name, folders, files in os.walk(folder):
        for entry in (*folders, *files):
            yield Path(name, entry).lstat()


def _work(home: Home, runs: Mapping[str, Any], *, stopped: bool) -> Iterator[Leftover]:
    """Yield what is left of stages that nobody works on."""
    for folder in _folders(home.work):
        if not _WORK.fullmatch(folder.name):
            continue
        work, lock = WorkDir(folder), Path(f"{folder}.lock")
        run = runs.get(work.run_id or "")
        status = run.info.status if run is not None else None
        if status == "RUNNING" and run is not None and run.data.tags.get("genvar.host") != socket.gethostname():
            continue  # perhaps another machine works on it
        if status == "FINISHED":
            yield Leftover(folder, "work of a finished stage", lock)
        elif (work.out_dir / COMPLETION_MARKER).is_file():
            # Results that are not stored yet: only what the training would have needed to go on can go.
            if (scratch := folder / "scratch").is_dir():
                yield Leftover(scratch, "checkpoints of a finished training", lock)
        elif stopped:
            yield Leftover(folder, "stage that was stopped: it would start anew", lock)


def _downloads(home: Home, store: RunStore, runs: Mapping[str, Any]) -> Iterator[Leftover]:
    """Yield downloads that the server in use still holds, and those that broke off."""
    for folder in _folders(home.cache):
        if folder.suffix == ".part":
            if time.time() - folder.stat().st_mtime > _SECONDS_OF_A_DOWNLOAD:
                yield Leftover(folder, "download that broke off")
        elif store.is_remote and (run := runs.get(folder.name)) is not None and store.has_artifacts(run):
            yield Leftover(folder, "download that the server still holds")


def _deleted(home: Home, runs: Mapping[str, Any]) -> Iterator[Leftover]:
    """Yield the artifacts of deleted runs that no pipeline reuses."""
    active = [run for run in runs.values() if run.info.lifecycle_stage == "active"]
    reused = {value for run in active for key, value in run.data.tags.items() if key.startswith(_REUSED)}
    for experiment in _folders(home.artifacts):
        for folder in _folders(experiment):
            run = runs.get(folder.name)
            if run is not None and run.info.lifecycle_stage == "deleted" and folder.name not in reused:
                yield Leftover(folder, "artifacts of a deleted run")


def _folders(parent: Path) -> list[Path]:
    """Return the folders inside a folder, without links."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())


def _is_free(leftover: Leftover, locks: ExitStack) -> bool:
    """Take the lock of a folder until the end, so that no command begins to work in it; False where one does."""
    assert leftover.lock is not None
    try:
        file = locks.enter_context(leftover.lock.open("a"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _all_runs(uri: str) -> dict[str, Any]:
    """Return every run by its id, those that were deleted too."""
    from mlflow.entities import ViewType

    client = mlflow_client(uri)
    experiments = [one.experiment_id for one in client.search_experiments(view_type=ViewType.ALL)]
    runs: dict[str, Any] = {}
    token = None
    while experiments:
        page = client.search_runs(experiments, "", ViewType.ALL, max_results=_PAGE, page_token=token)
        runs |= {run.info.run_id: run for run in page}
        token = page.token
        if not token:
            break
    return runs


def _show(leftovers: Sequence[Leftover], console: Console) -> None:
    table = Table(title="What can go", title_justify="left")
    for heading in ("what", "size", "folder"):
        table.add_column(heading, justify="right" if heading == "size" else "left", overflow="fold")
    for one in leftovers:
        table.add_row(one.why, _megabytes(disk_use([one.path])), str(one.path))
    if leftovers:
        console.print(table, markup=False)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
