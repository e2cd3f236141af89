"""The mesh stage: the body of every training image, and its guidance maps from eight sides."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from PIL import Image
from pydantic import Field

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker
from reid_core.data.images import load_images
from reid_core.data.manifest import UnlabelledImages, read_manifest, unlabelled
from reid_core.errors import UserError
from reid_core.mesh.cache import VERSION, MeshCache, open_mesh_cache
from reid_core.mesh.extract import MeshShard, extract_shard
from reid_core.mesh.guidance import ANGLES
from reid_core.mesh.sheet import guidance_sheet
from stages.stage import Stage, StageConfig

_LOG = logging.getLogger(__name__)
_SHOWN = 10  # images of the contact sheet
_NO_MESH = (
    "These are photographs whose bodies are not known: no image has a mesh, so nothing is rotated; "
    "D-mixup and contrast still train."
)


class MeshConfig(StageConfig):
    """Where bodies come from and how finely they are drawn."""

    source: Literal["auto", "truth", "none"] = Field(
        "auto",
        description="truth: the bodies written beside rendered people; none: no meshes, so no rotation; "
        "auto: truth where there is one, else none (ours).",
    )
    topology: Literal["notoes_collapse3pc", "notoes_collapse5pc", "notoes_collapse10pc", "anny"] = Field(
        "notoes_collapse10pc",
        description="Body mesh, from 734 to 27,420 faces; 3pc is enough at 64 x 32 pixels, 10pc at 256 x 128 (ours).",
    )
    images_per_shard: int = Field(64, ge=1, le=10_000, description="Images of one unit of work (ours).")


def run(config: MeshConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Write ``mesh_cache/part-*.parquet`` of the training images, a contact sheet and the summary."""
    manifest_path = inputs["data"] / "manifest.parquet"
    manifest = read_manifest(manifest_path)
    images = unlabelled(manifest)
    height, width = manifest.info["image_size"]
    truth_path = _truth(config, inputs["data"])
    if truth_path is None:
        _LOG.warning("%s", _NO_MESH)

    digest = _digest(config, manifest_path, truth_path)
    # Shards are made in the scratch folder, where a rerun finds the whole ones.
    shards = _plan(config, images, truth_path, out_dir.parent / "scratch" / "mesh_cache", (height, width), digest)
    sizes = [len(shard.image_ids) for shard in shards]
    compute.map_shards(extract_shard, shards, description="Extracting meshes", sizes=sizes)
    cache_dir = out_dir / "mesh_cache"
    shutil.rmtree(cache_dir, ignore_errors=True)
    cache_dir.mkdir(parents=True)
    for shard in shards:
        shutil.copyfile(shard.path, cache_dir / shard.path.name)

    cache = open_mesh_cache(cache_dir)
    statuses = cache.statuses()
    _draw(images, cache, out_dir / "pictures")
    num_ok = statuses.get("ok", 0)
    summary = {
        "source": "none" if truth_path is None else "truth",
        "images": len(images),
        "with a mesh": num_ok,
        **{f"without: {status}": count for status, count in sorted(statuses.items()) if status != "ok"},
        "rotations": ", ".join(str(angle) for angle in ANGLES[1:]),
        "guidance_size": f"{height} x {width}",
        "topology": config.topology,
        "notes": _NO_MESH if truth_path is None else "",
    }
    (out_dir / "summary.json").write_text(json.dumps(summary, indent=1))
    tracker.log_metrics({"images/with_mesh": num_ok, "images/without_mesh": len(images) - num_ok})


STAGE = Stage("mesh", 1, MeshConfig, ("data",), run)


def _truth(config: MeshConfig, data_dir: Path) -> Path | None:
    """The truth file that the bodies come from, or None for no bodies."""
    path = data_dir / "truth.parquet"
    if config.source == "none":
        return None
    if path.is_file():
        return path
    if config.source == "truth":
        raise UserError(
            f"mesh.source=truth wants the bodies of rendered people in {path}, but this data set has none; "
            "use mesh.source=auto"
        )
    return None


def _plan(
    config: MeshConfig,
    images: UnlabelledImages,
    truth_path: Path | None,
    folder: Path,
    size: tuple[int, int],
    digest: str,
) -> list[MeshShard]:
    step = config.images_per_shard
    return [
        MeshShard(
            path=folder / f"part-{number:05d}.parquet",
            image_ids=images.image_ids[start : start + step],
            images=images.paths[start : start + step],
            truth_path=truth_path,
            topology=config.topology,
            size=size,
            digest=digest,
        )
        for number, start in enumerate(range(0, len(images), step))
    ]


def _digest(config: MeshConfig, manifest_path: Path, truth_path: Path | None) -> str:
    """Name of everything that the shards depend on."""
    digest = hashlib.blake2b(f"{VERSION}/{config.topology}/".encode(), digest_size=16)
    digest.update(manifest_path.read_bytes())
    if truth_path is not None:
        digest.update(truth_path.read_bytes())
    return digest.hexdigest()


def _draw(images: UnlabelledImages, cache: MeshCache, folder: Path) -> None:
    """Draw a contact sheet of images that have a mesh, spread over the data; none where there is no mesh."""
    able = cache.available(images.image_ids).nonzero().flatten().tolist()
    chosen = able[:: max(1, len(able) // _SHOWN)][:_SHOWN]
    if not chosen:
        return
    photographs = load_images([images.paths[index] for index in chosen], cache.size)
    sheet = guidance_sheet(photographs, cache.guidance([images.image_ids[index] for index in chosen], ANGLES))
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(folder / "guidance.png")
