"""The data stage: find or render the images, check every one of them, write the manifest."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker
from reid_core.data.datasets.base import MARKET_FOLDERS, Dataset, Naming, Record, count, why_not_ranked
from reid_core.data.datasets.find import SYNTHETIC, canonical_name, describe_names, find_dataset
from reid_core.data.datasets.layouts import read_images
from reid_core.data.images import Verdict, load_images, refuse_many_unreadable, verify_image
from reid_core.data.manifest import SCHEMA, Manifest, content_digests, read_manifest, write_manifest
from reid_core.data.path_safety import absolute
from reid_core.data.synthetic.settings import VERSION as RENDERER_VERSION
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import finish, plan_shards, render_shard
from reid_core.errors import UserError
from reid_core.evaluation.sheets import Cell, draw_sheet
from stages.stage import Prospect, ResultNeutral, Stage, StageConfig

_LOG = logging.getLogger(__name__)
_SHARD = 1024  # images checked by one task
_MIN_TRAIN = 8  # images; fewer cannot be clustered
_SHOWN = 8  # rows and columns of the sample sheet
_LISTED = 20  # unreadable files named in the summary


class DataConfig(StageConfig):
    """Which images, and at which size the networks see them."""

    dataset: str = Field(SYNTHETIC, description=f"{describe_names()}.")
    # The content of the images counts, not where they lie.
    data_root: Annotated[Path | None, ResultNeutral()] = Field(
        None, description="Folder that holds the data set; data/ when not given."
    )
    image_height: int = Field(256, ge=32, le=1024, multiple_of=16, description="Pixels that networks see (paper).")
    image_width: int = Field(128, ge=16, le=512, multiple_of=16, description="Pixels that networks see (paper).")
    train_split: Literal["trainval", "train"] = Field(
        "trainval", description="For msmt17: train without the validation list, as torchreid does (trainval: papers)."
    )
    # What it says of the images counts, not how it says it.
    naming: Annotated[Naming, ResultNeutral()] = Field(
        Naming(), description="How own photographs (folder) say person and camera."
    )
    synthetic: SyntheticSettings = Field(SyntheticSettings(), description="Rendered people.")

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        return canonical_name(name)

    @field_validator("data_root")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        # The same folder is the same configuration wherever the command was typed.
        return path and absolute(path)

    @field_validator("naming")
    @classmethod
    def _absolute_table(cls, naming: Naming) -> Naming:
        return replace(naming, table=naming.table and absolute(naming.table))


def check(config: DataConfig) -> Prospect:
    """Say what the images lack, and return what is known of them; a UserError when they cannot be used.

    Nothing is decoded or written.
    """
    size = (config.image_height, config.image_width)
    if config.dataset == SYNTHETIC:
        if config.naming != Naming():
            raise UserError("data.naming is for DATASET=folder: rendered people have names of their own; leave it out")
        people = config.synthetic
        num_train = people.num_train_people * people.images_per_person
        prospect = Prospect(num_train, people.num_cameras, is_rendered=True, not_ranked=None, image_size=size)
    else:
        dataset = _find(config)
        train = [record.camera_id for record in dataset.records if record.split == "train"]
        num_cameras = 0 if None in train else len(set(train))
        not_ranked = why_not_ranked(dataset.records)
        prospect = Prospect(len(train), num_cameras, is_rendered=False, not_ranked=not_ranked, image_size=size)
        for note in dataset.notes:
            _LOG.warning("%s", note)
        if not_ranked is not None:
            _LOG.warning("evaluation will be skipped: %s", not_ranked)
    if prospect.num_train < _MIN_TRAIN:
        raise UserError(
            f"{config.dataset} has {prospect.num_train} training images, wanted at least {_MIN_TRAIN}; add images"
        )
    return prospect


def content_digest(config: DataConfig) -> str:
    """Return a short name of the images: of their names and content, or of the rendering settings.

    Neither the folder's place nor the files' times count: a data set that was moved or copied is the same one.
    """
    if config.dataset == SYNTHETIC:
        return _digest([str(RENDERER_VERSION), json.dumps(asdict(config.synthetic))])
    dataset = _find(config)
    contents = content_digests([dataset.root / record.path for record in dataset.records], progress=_tell_reading)
    lines = [dataset.name, dataset.version, dataset.layout]
    lines += [f"{_named(record)}|{content}" for record, content in zip(dataset.records, contents, strict=True)]
    return _digest(lines)


def still_serves(config: DataConfig, out_dir: Path) -> bool:
    """Tell whether a finished image table points to where the images are now; after a move it is written anew."""
    if config.dataset == SYNTHETIC:
        return True
    return read_manifest(out_dir / "manifest.parquet").root == _find(config).root


def run(config: DataConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Write ``manifest.parquet`` (for rendered people also ``images/`` and ``truth.parquet``) and a sample sheet."""
    is_synthetic = config.dataset == SYNTHETIC
    dataset = _render(config, out_dir, compute) if is_synthetic else _find(config)
    paths = [record.path for record in dataset.records]
    verdicts = _verify(dataset, compute)
    problems = [f"{path}: {v.problem}" for path, v in zip(paths, verdicts, strict=True) if v.problem]
    problems = [line.encode("utf-8", "backslashreplace").decode() for line in problems]
    refuse_many_unreadable(problems, len(paths), dataset.root)
    for line in problems[:_LISTED]:
        _LOG.warning("left out %s", line)

    kept = [(record, v) for record, v in zip(dataset.records, verdicts, strict=True) if not v.problem]
    counts = count([record for record, _ in kept])
    if counts.train < _MIN_TRAIN:
        raise UserError(
            f"{dataset.root} has {counts.train} readable training images, wanted at least {_MIN_TRAIN}; add images"
        )
    info: dict[str, Any] = {
        "dataset": dataset.name,
        "version": dataset.version,
        "layout": dataset.layout,
        "counts": counts._asdict(),
        "image_size": [config.image_height, config.image_width],
        "train_split": config.train_split,
        "distractors": list(dataset.distractors),
        "notes": list(dataset.notes),
        "unreadable": {"count": len(problems), "files": problems},
    }
    root = out_dir if is_synthetic else dataset.root
    prefix = f"{dataset.root.relative_to(out_dir).as_posix()}/" if is_synthetic else ""
    manifest = Manifest(_table(kept, prefix), root, info)
    write_manifest(manifest, out_dir / "manifest.parquet", root="." if is_synthetic else str(root))
    _draw_sample(manifest, out_dir / "pictures")
    summary: dict[str, Any] = {"dataset": dataset.name, "version": dataset.version, "layout": dataset.layout}
    summary |= {"root": str(dataset.root), **counts._asdict()}
    summary |= {
        "unreadable": len(problems),
        "left out": "; ".join(problems[:_LISTED]),
        "notes": "; ".join(dataset.notes),
    }
    (out_dir / "summary.json").write_text(json.dumps(summary, indent=1))
    tracker.log_metrics({f"images/{split}": getattr(counts, split) for split in ("train", "query", "gallery")})


def find_problems(dataset: Dataset, compute: Compute) -> list[str]:
    """Decode every image of a data set; returns why it is of no use for each, or an empty text."""
    return [verdict.problem for verdict in _verify(dataset, compute)]


STAGE = Stage(
    name="data",
    version=2,
    config=DataConfig,
    needs=(),
    run=run,
    does="finds the images, or renders people, and writes the image table",
    deterministic=True,
    content=content_digest,
    reads=lambda config: [] if config.dataset == "synthetic" else [config.data_root or Path("data")],
    still_serves=still_serves,
)


@dataclass(frozen=True)
class _Shard:
    root: Path
    paths: tuple[str, ...]


def _verify(dataset: Dataset, compute: Compute) -> list[Verdict]:
    paths = [record.path for record in dataset.records]
    shards = [_Shard(dataset.root, tuple(paths[start : start + _SHARD])) for start in range(0, len(paths), _SHARD)]
    sizes = [len(shard.paths) for shard in shards]
    checked = compute.map_shards(_verify_shard, shards, description="Checking images", sizes=sizes)
    return [verdict for shard in checked for verdict in shard]


def _verify_shard(shard: _Shard) -> list[Verdict]:
    return [verify_image(shard.root / path) for path in shard.paths]


def _tell_reading(done: int, total: int) -> None:
    _LOG.info("reading the images to tell whether they are known: %s of %s", f"{done:,}", f"{total:,}")


def _find(config: DataConfig) -> Dataset:
    if config.data_root is None and config.dataset == "folder":
        raise UserError("DATASET=folder needs DATA_ROOT, the folder that holds your images; give data.data_root")
    root = config.data_root or Path("data")
    return find_dataset(config.dataset, root, train_split=config.train_split, naming=config.naming)


def _render(config: DataConfig, out_dir: Path, compute: Compute) -> Dataset:
    shards = plan_shards(config.synthetic, out_dir)
    sizes = [shard.num_images for shard in shards]
    _LOG.info("rendering %d pictures; the first time on a machine, the body model is prepared for a minute", sum(sizes))
    compute.map_shards(render_shard, shards, description="Rendering people", sizes=sizes)
    finish(shards, out_dir)
    root = out_dir / "images"
    version = f"rendered people, seed {config.synthetic.seed}"
    return Dataset(SYNTHETIC, version, MARKET_FOLDERS.name, root, tuple(read_images(root, MARKET_FOLDERS)))


def _table(kept: Sequence[tuple[Record, Verdict]], prefix: str) -> pa.Table:
    rows = []
    numbers = {"train": 0, "query": 0, "gallery": 0}
    for record, verdict in kept:
        rows.append(
            {
                # Opaque: names of files carry identities.
                "image_id": f"{record.split}-{numbers[record.split]:06d}",
                "split": record.split,
                "path": prefix + record.path,
                "width": verdict.width,
                "height": verdict.height,
                "person_id": record.person_id,
                "camera_id": record.camera_id,
                "tracklet_id": record.tracklet_id,
            }
        )
        numbers[record.split] += 1
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _draw_sample(manifest: Manifest, folder: Path) -> None:
    """Draw a sheet of training images: one person a row where people are known, else any images."""
    table = manifest.split("train").table
    people = table["person_id"].to_pylist()
    height, width = manifest.info["image_size"]
    known = sorted({person for person in people if person is not None})
    if known and None not in people:
        chosen = _spread(known, _SHOWN)
        rows = [_spread([i for i, person in enumerate(people) if person == one], _SHOWN) for one in chosen]
        name = "people.png"
    else:
        indices = _spread(range(len(people)), _SHOWN**2)
        rows = [indices[start : start + _SHOWN] for start in range(0, len(indices), _SHOWN)]
        name = "sample.png"
    paths = table["path"].to_pylist()
    sheet = [
        [Cell(image) for image in load_images([manifest.root / paths[i] for i in row], (height, width))] for row in rows
    ]
    folder.mkdir(parents=True, exist_ok=True)
    draw_sheet(sheet).save(folder / name)


def _spread(values: Sequence[int], num: int) -> list[int]:
    """Return at most ``num`` of the values, evenly spaced."""
    return [values[i * len(values) // num] for i in range(num)] if len(values) > num else list(values)


def _named(record: Record) -> str:
    """Return what is known of an image as a text; tracklets show only where there are some."""
    known = record._asdict()
    if record.tracklet_id is None:
        del known["tracklet_id"]
    return f"Record({', '.join(f'{name}={value!r}' for name, value in known.items())})"


def _digest(lines: Sequence[str]) -> str:
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=16).hexdigest()
