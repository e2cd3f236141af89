"""The manifest: one row an image, and the unlabelled view of it that training code receives."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reid_core.data.confined import first_outside
from reid_core.errors import UserError

SPLITS = ("train", "query", "gallery")

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),  # opaque: "train-000017"; file names carry identities
        pa.field("split", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # relative to the root
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("person_id", pa.int32()),  # null when unknown
        pa.field("camera_id", pa.int32()),  # null when unknown; counted from 0
    ]
)


@dataclass(frozen=True)
class Manifest:
    """The image table of one data set.

    Attributes:
        table: Rows of ``SCHEMA``.
        root: Folder that ``path`` is relative to.
        info: What is known of the data set as a whole: ``dataset``, ``version``, ``counts``, ``unreadable``, ...
    """

    table: pa.Table
    root: Path
    info: dict[str, Any]

    def split(self, name: str) -> "Manifest":
        """Return the rows of one split, in order."""
        assert name in SPLITS, name
        mask = pa.compute.equal(self.table["split"], name)
        return Manifest(self.table.filter(mask), self.root, self.info)

    def __len__(self) -> int:
        return int(self.table.num_rows)


@dataclass(frozen=True)
class UnlabelledImages:
    """What training code knows of the training images: no identity, in no column and in no name.

    Attributes:
        image_ids: Opaque names, N of them.
        paths: Absolute files to decode, N of them.
        cameras: Camera of each image, from 0, or None when the data set does not know them.
    """

    image_ids: tuple[str, ...]
    paths: tuple[Path, ...]
    cameras: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.image_ids)


def unlabelled(manifest: Manifest, split: str = "train") -> UnlabelledImages:
    """Return the training view of a manifest: everything but ``person_id``."""
    rows = manifest.split(split).table
    cameras = rows["camera_id"]
    return UnlabelledImages(
        image_ids=tuple(rows["image_id"].to_pylist()),
        paths=tuple(manifest.root / path for path in rows["path"].to_pylist()),
        cameras=None if cameras.null_count else tuple(cameras.to_pylist()),
    )


def write_manifest(manifest: Manifest, path: Path, *, root: str) -> None:
    """Write ``manifest.parquet``; ``root`` is an absolute folder, or "." for the folder that holds the file."""
    metadata = {b"root": root.encode(), b"info": json.dumps(manifest.info, sort_keys=True).encode()}
    pq.write_table(manifest.table.cast(SCHEMA).replace_schema_metadata(metadata), path)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest that ``write_manifest`` wrote; its root follows the file when it was written as "."."""
    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        root = metadata[b"root"].decode()
        info = json.loads(metadata[b"info"])
        table = table.cast(SCHEMA)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a manifest of genvar ({error}); run the data stage again") from error
    if (outside := first_outside(table["path"].to_pylist())) is not None:
        raise UserError(
            f'{path} names the file "{outside}", wanted one below {"its folder" if root == "." else root}: it was not '
            "written by genvar, or was changed; run the data stage again"
        )
    return Manifest(table, path.parent if root == "." else Path(root), info)
