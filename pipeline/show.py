"""``genvar show``: every picture of a finished pipeline, drawn anew from its weights."""

import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from infra.compute.local import LocalCompute
from infra.compute.protocol import Compute
from infra.home import Home, check_writable
from infra.tracking.address import tracking_uri
from infra.tracking.protocol import SilentTracker
from infra.tracking.store import RunStore
from pipeline.compare import find_pipelines, stage_folders
from reid_core.data.datasets.tree import mark_results
from reid_core.data.images import as_float, load_images
from reid_core.data.manifest import Manifest, read_manifest, unlabelled
from reid_core.errors import UserError
from reid_core.evaluation.plots.ranked_lists import ranked_lists
from reid_core.evaluation.ranking import evaluate_ranking
from reid_core.models.weights import load_generator, load_identity
from stages.embedding import embed_images
from stages.evaluate import draw_lists, draw_maps, why_skipped
from stages.training.clustering import read_pseudo_labels
from stages.training.data import GuidanceSource
from stages.training.pictures import write_cluster_pictures, write_pictures
from stages.truth import image_paths, labelled_side

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Amounts:
    """How much the pictures show.

    Attributes:
        num_queries: Rows of a picture of ranked lists.
        list_length: Gallery images of a list.
        num_people: Rows of the sheet of generated people.
        num_clusters: Rows of a sheet of clusters.
        num_images_mapped: Images of the t-SNE maps; 0 draws none.
        seed: Draws queries, and people of the maps.
    """

    num_queries: int = 8
    list_length: int = 10
    num_people: int = 8
    num_clusters: int = 8
    num_images_mapped: int = 1000
    seed: int = 0


def draw_pictures(folders: Mapping[str, Path], out_dir: Path, amounts: Amounts, compute: Compute) -> list[str]:
    """Draw everything that the stages of a pipeline allow; what they do not is said and left out.

    Args:
        folders: Stage name to folder; needs data and joint.
        out_dir: Is created; pictures of the same names are overwritten.
        amounts: How much is shown.
        compute: Embeds images.

    Returns:
        Why pictures were left out, one sentence each.
    """
    for stage in ("data", "joint"):
        if stage not in folders:
            raise UserError(
                f"the pipeline has no finished {stage} stage, so there is nothing to draw from; run it first"
            )
    manifest = read_manifest(folders["data"] / "manifest.parquet")
    _check_images(manifest)
    out_dir.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], None]] = {
        "samples of images and bodies": lambda: _copy_samples(folders, out_dir),
        "ranked lists and maps": lambda: _draw_retrieval(manifest, folders["joint"], out_dir, amounts, compute),
        "generated people": lambda: _draw_generated(manifest, folders, out_dir, amounts.num_people),
        "clusters": lambda: _draw_clusters(manifest, folders["joint"], out_dir, amounts, compute),
    }
    left_out = []
    for name, draw in parts.items():
        _log.info("drawing %s", name)
        try:
            draw()
        except UserError as error:
            left_out.append(f"{name}: {error}")
    return left_out


def _check_images(manifest: Manifest) -> None:
    first = next(iter(image_paths(manifest)), None)
    if first is not None and not first.is_file():
        raise UserError(
            f"the images of this pipeline were in {manifest.root} and are no longer there ({first.name} is missing); "
            "give the pipeline command again with --data-root where they are now, and then show again"
        )


def _copy_samples(folders: Mapping[str, Path], out_dir: Path) -> None:
    for stage in ("data", "mesh"):
        for picture in sorted((folders[stage] / "pictures").glob("*.png")) if stage in folders else []:
            shutil.copyfile(picture, out_dir / picture.name)


def _draw_retrieval(manifest: Manifest, joint: Path, out_dir: Path, amounts: Amounts, compute: Compute) -> None:
    if (reason := why_skipped(manifest)) is not None:
        raise UserError(reason.replace("Evaluation was skipped: ", "").rstrip("."))
    sides = (manifest.split("query"), manifest.split("gallery"))
    paths = [path for side in sides for path in image_paths(side)]
    features = torch.from_numpy(
        embed_images(
            joint / "identity.safetensors", paths, _size(manifest), compute, description="Embedding test images"
        )
    )
    query = labelled_side(sides[0], features[: len(sides[0])])
    gallery = labelled_side(sides[1], features[len(sides[0]) :])
    lists = ranked_lists(query, gallery, length=amounts.list_length)
    precision = evaluate_ranking(query, gallery).average_precision
    draw_lists(manifest, precision, lists, out_dir, num_queries=amounts.num_queries, seed=amounts.seed)
    both = (query.features, gallery.features)
    draw_maps(manifest, both, out_dir, num_images=amounts.num_images_mapped, seed=amounts.seed)


class _Decoded:
    """Training images that are decoded when they are asked for: a sheet shows a few of many."""

    def __init__(self, paths: tuple[Path, ...], size: tuple[int, int]) -> None:
        self._paths, self._size = paths, size

    def batch(self, index: Tensor, device: torch.device) -> Tensor:
        return as_float(load_images([self._paths[i] for i in index.tolist()], self._size).to(device))


def _draw_generated(manifest: Manifest, folders: Mapping[str, Path], out_dir: Path, num_people: int) -> None:
    weights = folders["joint"] / "generator.safetensors"
    if not weights.is_file() or "mesh" not in folders:
        raise UserError("the pipeline has no generator, or no bodies to steer it")
    images = unlabelled(manifest)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    guidance = GuidanceSource(folders["mesh"], images.image_ids, folders["data"])
    generator = load_generator(weights).to(device)
    encoder = load_identity(folders["joint"] / "identity.safetensors").to(device)
    # Writes into a folder "pictures" of the folder that it is given.
    staging = out_dir / ".drawing"
    staging.mkdir(exist_ok=True)
    decoded = _Decoded(images.paths, _size(manifest))
    write_pictures(generator, encoder, decoded, guidance, staging, SilentTracker(), num_people=num_people)
    _gather(staging, out_dir)


def _draw_clusters(manifest: Manifest, joint: Path, out_dir: Path, amounts: Amounts, compute: Compute) -> None:
    files = sorted((joint / "pseudo_labels").glob("epoch-*.parquet"))
    if not files:
        raise UserError("joint training left no pseudo labels")
    images = unlabelled(manifest)
    _, labels = read_pseudo_labels(files[-1])
    weights, size = joint / "identity.safetensors", _size(manifest)
    features = embed_images(weights, images.paths, size, compute, description="Embedding training images")
    staging = out_dir / ".drawing"
    write_cluster_pictures(
        features,
        np.asarray(labels),
        lambda index: load_images([images.paths[i] for i in index], size),
        staging,
        SilentTracker(),
        num_clusters=amounts.num_clusters,
    )
    _gather(staging, out_dir)


def _gather(staging: Path, out_dir: Path) -> None:
    for picture in (staging / "pictures").iterdir():
        picture.replace(out_dir / picture.name)
    shutil.rmtree(staging)


def _size(manifest: Manifest) -> tuple[int, int]:
    height, width = manifest.info["image_size"]
    return int(height), int(width)


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
    check_writable(target, "choose another --out")
    before = _times(target)
    compute = LocalCompute(num_cpus=num_cpus)
    try:
        left_out = draw_pictures(folders, target, amounts, compute)
    finally:
        compute.close()
    store = RunStore(home, tracking_uri(home), pipeline.experiment)
    tracker = store.tracker(pipeline.run_id, home.work / "journal")
    # The folder may hold pictures of the user.
    pictures = [picture for picture, time in sorted(_times(target).items()) if before.get(picture) != time]
    mark_results(target, [picture.name for picture in pictures])
    for picture in pictures:
        tracker.log_file(picture, "pictures")
    for sentence in left_out:
        console.print(f"left out   {sentence}", markup=False, highlight=False)
    console.print(f"{len(pictures)} pictures of {pipeline.title} in {target}", markup=False, highlight=False)


def _times(folder: Path) -> dict[Path, int]:
    """Return when each picture of a folder was written."""
    return {picture: picture.stat().st_mtime_ns for picture in folder.glob("*.png")}


def _folder_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)
