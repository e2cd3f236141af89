"""What ``genvar show`` does, once its options are read."""

import re
from pathlib import Path

from rich.console import Console

from infra.compute.local import LocalCompute
from infra.home import Home
from infra.tracking.store import RunStore, tracking_uri
from pipeline.compare import find_pipelines, stage_folders
from pipeline.showing import Amounts, draw_pictures
from reid_core.errors import UserError


def show(
    home: Home, name: str | None, out: Path | None, amounts: Amounts, *, num_cpus: int | None, console: Console
) -> None:
    """Draw the pictures of one finished pipeline into a folder, and store them with its run.

    Args:
        home: Where runs are kept.
        name: Pipeline by name or id; None for the newest one that has trained.
        out: Folder of the pictures; None for one in the home.
        amounts: How much is shown.
        num_cpus: Processes that embed images; None for all.
        console: For where the pictures are, on standard output.
    """
    found = find_pipelines(home, [name] if name else [])
    pipeline = next((one for one in found if name or "joint" in one.stages), None)
    if pipeline is None:
        raise UserError(f"no pipeline in {home.root} has finished joint training yet; run one first")
    folders = stage_folders(home, pipeline)
    target = (out or home.root / "pictures" / _folder_name(f"{pipeline.title}-{pipeline.run_id[:8]}")).absolute()
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file, wanted a folder for the pictures; choose another --out")
    compute = LocalCompute(num_cpus=num_cpus)
    try:
        left_out = draw_pictures(folders, target, amounts, compute)
    finally:
        compute.close()
    store = RunStore(home, tracking_uri(home), pipeline.experiment)
    tracker = store.tracker(pipeline.run_id, home.work / "journal")
    pictures = sorted(target.glob("*.png"))
    for picture in pictures:
        tracker.log_file(picture, "pictures")
    for sentence in left_out:
        console.print(f"left out   {sentence}", markup=False, highlight=False)
    console.print(f"{len(pictures)} pictures of {pipeline.title} in {target}", markup=False, highlight=False)


def _folder_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)
