"""The manifest: one row an image, and the unlabelled view of it that training code receives.

Naming images by what is in them, so that a data set that was moved or copied is still the same one.

A short name of the images that a mesh cache is made for.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reid_core.data.path_safety import first_outside
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


_THREADS = 8  # reading waits for the disk, and hashing lets other threads run
_BLOCK = 2048  # files from one call of ``progress`` to the next
_SECONDS_BETWEEN_CALLS = 10.0
MISSING = "missing"


def content_digests(
    paths: Sequence[Path], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """Digest every file.

    Args:
        paths: Files.
        progress: Told every ten seconds how many of how many are done.

    Returns:
        32 hexadecimal digits each, or ``MISSING`` for a file that is not there or may not be read.
    """
    digests: list[str] = []
    told = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(paths), _BLOCK):
            digests += threads.map(_digest, paths[start : start + _BLOCK])
            if time.monotonic() - told > _SECONDS_BETWEEN_CALLS:
                told = time.monotonic()
                progress(len(digests), len(paths))
    return digests


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:  # named by a list, or of another owner: the check of the images tells which and why
        return MISSING


def manifest_digest(manifest: Manifest, split: str = "train") -> str:
    """Digest the names, files and sizes of one split, in order.

    Neither the folder that holds the files nor any identity counts: a data set that was moved keeps its cache.

    Args:
        manifest: Of the data stage.
        split: Whose images have meshes.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    rows = manifest.split(split).table.select(["image_id", "path", "width", "height"])
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        digest.update(("|".join(map(str, row)) + "\n").encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
