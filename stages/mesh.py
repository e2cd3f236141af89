"""The mesh stage: a body for every training image, from one of several sources, drawn from eight sides."""

import hashlib
import json
import logging
import math
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker
from reid_core.data.manifest import UnlabelledImages, content_digests, manifest_digest, read_manifest, unlabelled
from reid_core.data.path_safety import absolute
from reid_core.errors import UserError
from reid_core.mesh.body import STATUSES, Topology
from reid_core.mesh.cache import VERSION, CacheInfo, MeshCache, open_mesh_cache
from reid_core.mesh.extract import MeshShard, extract_shard
from reid_core.mesh.guidance import ANGLES
from reid_core.mesh.rendered_maps import MISSING_SHOWN, RenderedMapsSource, find_maps
from reid_core.mesh.sheet import NAME, contact_sheet, save_sheet
from reid_core.mesh.smpl_model import check_smpl_model
from reid_core.mesh.smpl_source import SmplSource, read_smpl_table
from reid_core.mesh.sources import EstimateSource, NoSource, Source, TruthSource
from stages.stage import Prospect, Stage, StageConfig

_LOG = logging.getLogger(__name__)
# Raised when a source makes other bodies or other maps of the same images.
_MAPS_VERSION = 2
_TRUTH = "truth.parquet"
_SHOWN = 12  # images of the contact sheet
# Below this share the rotations teach little, and something is probably wrong with the images.
_FEW = 0.5
_NO_MESH = (
    "No image has a mesh, so nothing is rotated; D-mixup and contrast still train. "
    "mesh.source=estimate finds bodies in photographs."
)


class MeshConfig(StageConfig):
    """Where bodies come from and how finely they are drawn."""

    source: Literal["auto", "truth", "estimate", "smpl", "images", "none"] = Field(
        "auto",
        description="truth: the bodies written beside rendered people; estimate: found in the images; smpl: "
        "smpl_table and smpl_model; images: maps rendered elsewhere, in maps_dir; none: no meshes, so no rotation; "
        "auto: truth where there is one, else estimate (ours).",
    )
    smpl_table: Path | None = Field(
        None, description="For smpl: pose, shape and camera of every image as HMR, SPIN, PyMAF or 4DHumans write them."
    )
    smpl_model: Path | None = Field(None, description="For smpl: your SMPL model file (.pkl or .npz).")
    maps_dir: Path | None = Field(None, description="For images: the folder that holds render/, render_45/, ...")
    topology: Literal["auto"] | Topology = Field(
        "auto",
        description="Body mesh, from 734 to 27,420 faces. auto: the full one on a GPU; on a CPU 3pc up to 64 pixels of "
        "height, 5pc up to 128, 10pc above (ours).",
    )
    images_per_shard: int = Field(64, ge=1, le=10_000, description="Images of one unit of work (ours).")

    @field_validator("smpl_table", "smpl_model", "maps_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # The same file is the same configuration wherever the command was typed.
        return path and absolute(path)


@dataclass(frozen=True)
class SourcePlan:
    """The chosen source of bodies.

    Attributes:
        name: As in the settings, never auto.
        source: Makes the source object of a shard from its image files.
        digest: Of everything but the images' own bytes that the maps depend on.
        draws: Whether bodies are drawn here.
        notes: Sentences for the summary.
    """

    name: str
    source: Callable[[Sequence[Path]], Source]
    digest: str
    draws: bool
    notes: tuple[str, ...] = ()


def run(config: MeshConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Write ``mesh_cache/part-*.parquet`` of the training images, a contact sheet and the summary."""
    manifest = read_manifest(inputs["data"] / "manifest.parquet")
    images = unlabelled(manifest)
    height, width = manifest.info["image_size"]
    device = "cuda" if compute.num_gpus else "cpu"
    topology = config.topology if config.topology != "auto" else choose_topology(height, device)
    plan = plan_source(config, images, inputs["data"], topology, device)
    info = CacheInfo(plan.digest, manifest_digest(manifest), plan.name, topology if plan.draws else "", height, width)

    # Shards are made in the scratch folder, where a rerun finds the whole ones.
    shards = _shards(config, images, plan, info, out_dir.parent / "scratch" / "mesh_cache")
    reused = compute.map_shards(
        extract_shard,
        shards,
        description="Extracting meshes",
        sizes=[len(shard.image_ids) for shard in shards],
        # Every process of the GPU's machine may draw on it; MediaPipe keeps the processors busy meanwhile.
        gpus=compute.num_gpus / max(compute.num_cpus, 1) if device == "cuda" and plan.draws else 0,
    )
    cache_dir = out_dir / "mesh_cache"
    shutil.rmtree(cache_dir, ignore_errors=True)
    cache_dir.mkdir(parents=True)
    for shard in shards:
        shutil.copyfile(shard.path, cache_dir / shard.path.name)

    cache = open_mesh_cache(cache_dir)
    sheet = contact_sheet(cache, dict(zip(images.image_ids, images.paths, strict=True)), _SHOWN)
    if sheet is not None:
        (out_dir / "pictures").mkdir(parents=True, exist_ok=True)
        save_sheet(sheet, out_dir / "pictures" / NAME)
    summary = _summary(cache, plan)
    num_reused = sum(len(shard.image_ids) for shard, whole in zip(shards, reused, strict=True) if whole)
    summary |= {"images reused from an interrupted run": num_reused, "images extracted": len(images) - num_reused}
    (out_dir / "summary.json").write_text(json.dumps(summary, indent=1))
    num_ok = cache.statuses().get("ok", 0)
    if summary["notes"]:
        _LOG.warning("%s", summary["notes"])
    _LOG.info("mesh: %d of %d images have a mesh, %s", num_ok, len(cache), _counts(cache))
    numbers = {"images/with_mesh": float(num_ok), "images/without_mesh": float(len(images) - num_ok)}
    for name in ("confidence", "mask_iou", "reprojection"):
        if math.isfinite(median := _median(cache, name)):
            numbers[f"mesh/median_{name}"] = median
    tracker.log_metrics(numbers)


def choose_topology(height: int, device: str) -> str:
    """Choose the body mesh: a rasteriser's cost on a CPU grows with the faces, on a GPU it hardly does.

    Args:
        height: Of the maps, pixels.
        device: That draws, as torch names it.

    Returns:
        One of ``reid_core.mesh.body.TOPOLOGIES``.
    """
    if device == "cuda":
        return "anny"
    return "notoes_collapse3pc" if height <= 64 else "notoes_collapse5pc" if height <= 128 else "notoes_collapse10pc"


def _shards(
    config: MeshConfig, images: UnlabelledImages, plan: SourcePlan, info: CacheInfo, folder: Path
) -> list[MeshShard]:
    step, run = config.images_per_shard, uuid.uuid4().hex
    return [
        MeshShard(
            path=folder / f"part-{start // step:05d}.parquet",
            image_ids=images.image_ids[start : start + step],
            images=images.paths[start : start + step],
            source=plan.source(images.paths[start : start + step]),
            info=info,
            run=run,
        )
        for start in range(0, len(images), step)
    ]


def plan_source(config: MeshConfig, images: UnlabelledImages, data_dir: Path, topology: str, device: str) -> SourcePlan:
    """Choose the source of a data set's bodies.

    Args:
        config: Settings.
        images: To be extracted.
        data_dir: Output of the data stage.
        topology: Body mesh to draw.
        device: That draws, as torch names it.

    Returns:
        The plan; a UserError where the source lacks a file.
    """
    truth = data_dir / _TRUTH
    name = config.source if config.source != "auto" else ("truth" if truth.is_file() else "estimate")
    if name == "truth" and not truth.is_file():
        raise UserError(
            f"mesh.source=truth wants the bodies of rendered people in {truth}, but this data set has none; "
            "use mesh.source=auto"
        )
    check_source(config)
    digest = _digest(
        f"{VERSION}/{_MAPS_VERSION}/{name}/{topology}/{device}",
        *(content_digests([truth]) if name == "truth" else ()),
        *_outside(config),
    )
    if name == "truth":
        return SourcePlan(name, lambda _: TruthSource(truth, topology, device), digest, draws=True)
    if name == "estimate":
        return SourcePlan(name, lambda _: EstimateSource(topology, device), digest, draws=True)
    if name == "smpl":
        bodies = read_smpl_table(_wanted(config, "smpl_table"))
        model = _wanted(config, "smpl_model")
        missing = bodies.match(images.paths).count(None)
        notes = (f"{missing:,} of {len(images):,} images are not in {config.smpl_table}.",) if missing else ()
        return SourcePlan(name, lambda paths: SmplSource(bodies.select(paths), model, device), digest, True, notes)
    if name == "images":
        maps = find_maps(_wanted(config, "maps_dir"), images.paths)
        lacking = [path for path in images.paths if path not in maps]
        names = ", ".join(path.name for path in lacking[:MISSING_SHOWN])
        note = f"{len(lacking):,} of {len(images):,} images lack a map in {config.maps_dir} ({names})."

        def rendered(paths: Sequence[Path]) -> Source:
            return RenderedMapsSource({path: maps[path] for path in paths if path in maps})

        return SourcePlan(name, rendered, digest, draws=False, notes=(note,) if lacking else ())
    return SourcePlan(name, lambda _: NoSource(), digest, draws=False)


def check_source(config: MeshConfig) -> None:
    """Raise a UserError when files of the chosen source are not there, before any work."""
    if config.source == "smpl":
        table, model = _wanted(config, "smpl_table"), _wanted(config, "smpl_model")
        check_smpl_model(model)
        read_smpl_table(table)
    if config.source == "images":
        find_maps(_wanted(config, "maps_dir"), ())


def check(configs: Mapping[str, Any], prospect: Prospect) -> None:
    """Refuse sources that lack a file, or the bodies of rendered people."""
    config: MeshConfig = configs["mesh"]
    if config.source == "truth" and not prospect.is_rendered:
        raise UserError(
            "mesh.source=truth wants the bodies of rendered people, but the images of this data set are photographs; "
            "use mesh.source=auto"
        )
    check_source(config)
    unread = {"smpl": ("smpl_table", "smpl_model"), "images": ("maps_dir",)}
    for source, names in unread.items():
        for name in names:
            if source != config.source and getattr(config, name) is not None:
                _LOG.warning("mesh.%s is not read, because mesh.source is %s and not %s", name, config.source, source)


def content_digest(config: MeshConfig) -> str | None:
    """Return a short name of the files that a source reads from outside of the pipeline; a UserError when they lack."""
    if config.source not in ("smpl", "images"):
        return None
    check_source(config)
    return _digest(*_outside(config))


def read_by_workers(config: MeshConfig) -> list[Path]:
    """Return the file or folder that workers open; a table of SMPL bodies is read before, and sent to them in rows."""
    path = {"smpl": config.smpl_model, "images": config.maps_dir}.get(config.source)
    return [path] if path else []


def _outside(config: MeshConfig) -> list[str]:
    if config.source == "smpl":
        return content_digests([path for path in (config.smpl_table, config.smpl_model) if path])
    if config.source == "images" and config.maps_dir is not None:
        files = sorted(path for path in config.maps_dir.glob("render*/**/*") if path.is_file())
        names = [path.relative_to(config.maps_dir).as_posix() for path in files]
        return [f"{name} {digest}" for name, digest in zip(names, content_digests(files), strict=True)]
    return []


def _wanted(config: MeshConfig, name: str) -> Path:
    path = getattr(config, name)
    if path is None:
        raise UserError(f"mesh.source={config.source} wants mesh.{name}, but it is not set; name the file or folder")
    assert isinstance(path, Path)
    if not path.exists():
        raise UserError(f"mesh.{name} names {path}, which does not exist; correct the path")
    return path


def _digest(*lines: str) -> str:
    return hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _summary(cache: MeshCache, plan: SourcePlan) -> dict[str, object]:
    statuses = cache.statuses()
    num_ok = statuses.get("ok", 0)
    notes = list(plan.notes)
    if num_ok == 0:
        notes.append(_NO_MESH)
    elif num_ok < _FEW * len(cache):
        notes.append(
            f"Only {num_ok:,} of {len(cache):,} images have a mesh ({_counts(cache)}); the others do not turn."
        )
    medians = {f"median {name}": round(_median(cache, name), 3) for name in ("confidence", "mask_iou", "reprojection")}
    return {
        "source": plan.name,
        "images": len(cache),
        "with a mesh": num_ok,
        "status": {status: statuses[status] for status in STATUSES if status in statuses},
        **{name: value for name, value in medians.items() if math.isfinite(value)},
        "rotations": ", ".join(str(angle) for angle in ANGLES[1:]),
        "guidance_size": f"{cache.size[0]} x {cache.size[1]}",
        "topology": cache.info.topology,
        "bytes_per_image": round(cache.num_bytes / max(1, len(cache))),
        "notes": " ".join(notes),
    }


def _counts(cache: MeshCache) -> str:
    others = {status: count for status, count in sorted(cache.statuses().items()) if status != "ok"}
    return ", ".join(f"{count} {status}" for status, count in others.items()) or "none without"


def _median(cache: MeshCache, name: str) -> float:
    """Median over the images with a mesh, nan where nothing is known."""
    values = cache.column(name)[cache.available(cache.image_ids).numpy()]
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else math.nan


STAGE = Stage(
    name="mesh",
    version=2,
    config=MeshConfig,
    needs=("data",),
    run=run,
    does="places a 3D body into each image and draws it from eight sides",
    deterministic=True,
    check=check,
    content=content_digest,
    reads=read_by_workers,
)
