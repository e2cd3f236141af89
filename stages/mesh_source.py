"""Which source of bodies the mesh stage uses: settings, checks and one source object a shard."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from reid_core.data.content import content_digests
from reid_core.data.manifest import UnlabelledImages
from reid_core.errors import UserError
from reid_core.mesh.given_maps import MISSING_SHOWN, GivenMaps, find_maps
from reid_core.mesh.part import VERSION
from reid_core.mesh.smpl_model import check_smpl_model
from reid_core.mesh.smpl_source import SmplSource
from reid_core.mesh.smpl_table import read_smpl_table
from reid_core.mesh.sources import EstimateSource, NoSource, Source, TruthSource
from stages.stage import StageConfig

# Raised when a source makes other bodies or other maps of the same images.
_MAPS_VERSION = 2
_TRUTH = "truth.parquet"
OUTSIDE = ("smpl", "images")  # sources that read files from outside of the pipeline


class MeshSourceConfig(StageConfig):
    """Where bodies come from."""

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

    @field_validator("smpl_table", "smpl_model", "maps_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # The same file is the same configuration wherever the command was typed.
        return path and path.expanduser().absolute()


@dataclass(frozen=True)
class Plan:
    """The chosen source.

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


def content_digest(config: MeshSourceConfig) -> str:
    """Return a short name of the files that a source of ``OUTSIDE`` reads; a UserError when they are not as wanted."""
    check_source(config)
    return _digest(*_outside(config))


def check_source(config: MeshSourceConfig) -> None:
    """Raise a UserError when files of the chosen source are not there, before any work."""
    if config.source == "smpl":
        table, model = _wanted(config, "smpl_table"), _wanted(config, "smpl_model")
        check_smpl_model(model)
        read_smpl_table(table)
    if config.source == "images":
        find_maps(_wanted(config, "maps_dir"), ())


def plan_source(config: MeshSourceConfig, images: UnlabelledImages, data_dir: Path, topology: str, device: str) -> Plan:
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
        return Plan(name, lambda _: TruthSource(truth, topology, device), digest, draws=True)
    if name == "estimate":
        return Plan(name, lambda _: EstimateSource(topology, device), digest, draws=True)
    if name == "smpl":
        rows = read_smpl_table(_wanted(config, "smpl_table"))
        model = _wanted(config, "smpl_model")
        missing = rows.match(images.paths).count(None)
        note = f"{missing:,} of {len(images):,} images are not in {config.smpl_table}." if missing else ""
        return Plan(name, lambda paths: SmplSource(rows.select(paths), model, device), digest, True, _some(note))
    if name == "images":
        maps = find_maps(_wanted(config, "maps_dir"), images.paths)
        lacking = [path for path in images.paths if path not in maps]
        shown = ", ".join(path.name for path in lacking[:MISSING_SHOWN])
        note = (
            f"{len(lacking):,} of {len(images):,} images lack a map in {config.maps_dir} ({shown})." if lacking else ""
        )

        def given(paths: Sequence[Path]) -> Source:
            return GivenMaps({path: maps[path] for path in paths if path in maps})

        return Plan(name, given, digest, False, _some(note))
    return Plan(name, lambda _: NoSource(), digest, draws=False)


def _outside(config: MeshSourceConfig) -> list[str]:
    if config.source == "smpl":
        return content_digests([path for path in (config.smpl_table, config.smpl_model) if path])
    if config.source == "images" and config.maps_dir is not None:
        files = sorted(path for path in config.maps_dir.glob("render*/**/*") if path.is_file())
        names = [path.relative_to(config.maps_dir).as_posix() for path in files]
        return [f"{name} {digest}" for name, digest in zip(names, content_digests(files), strict=True)]
    return []


def _wanted(config: MeshSourceConfig, name: str) -> Path:
    path = getattr(config, name)
    if path is None:
        raise UserError(f"mesh.source={config.source} wants mesh.{name}, but it is not set; name the file or folder")
    assert isinstance(path, Path)
    if not path.exists():
        raise UserError(f"mesh.{name} names {path}, which does not exist; correct the path")
    return path


def _some(note: str) -> tuple[str, ...]:
    return (note,) if note else ()


def _digest(*lines: str) -> str:
    return hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
