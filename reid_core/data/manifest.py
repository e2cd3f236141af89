"""The manifest: one row an image, the unlabelled view of it that training code receives, and digests of images.

Digests name images by their content or their names, never by their folder: a data set that was moved or copied is still
the same one.
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

from reid_core.data.datasets.base import SPLITS
from reid_core.data.path_safety import first_outside
from reid_core.errors import UserError

_THREADS = 8  # reading waits for the disk, and hashing lets other threads run
_BLOCK = 2048  # files from one call of ``progress`` to the next
_SECONDS_BETWEEN_CALLS = 10.0
MISSING = "missing"  # in place of a digest

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),  # opaque: "train-000017"; file names carry identities
        pa.field("split", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # relative to the root
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("person_id", pa.int32()),  # null when unknown
        pa.field("camera_id", pa.int32()),  # null when unknown; counted from 0
        pa.field("tracklet_id", pa.int32()),  # one person, whoever that is; null when nothing is known
    ]
)


@dataclass(frozen=True)
class Manifest:
    """The image table of one data set.

    Attributes:
        table: Rows of ``SCHEMA``.
        root: Folder that ``path`` is relative to.
        info: Facts of the data set as a whole: ``dataset``, ``version``, ``counts``, ``distractors``, ...
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
    """The training images as training code knows them: without identity, in any column or name.

    Attributes:
        image_ids: Opaque names, N of them.
        paths: Absolute files to decode, N of them.
        cameras: Camera of each image, from 0, or None when the data set does not know them.
        tracklets: Images of one number from 0 are known to show one person, whoever that is; -1 where nothing is known,
            and None when nothing is known of any image.
    """

    image_ids: tuple[str, ...]
    paths: tuple[Path, ...]
    cameras: tuple[int, ...] | None
    tracklets: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)


def unlabelled(manifest: Manifest, split: str = "train") -> UnlabelledImages:
    """Return the training view of a manifest: everything but ``person_id``."""
    table = manifest.split(split).table
    cameras, tracklets = table["camera_id"], table["tracklet_id"]
    return UnlabelledImages(
        image_ids=tuple(table["image_id"].to_pylist()),
        paths=tuple(manifest.root / path for path in table["path"].to_pylist()),
        cameras=None if cameras.null_count else tuple(cameras.to_pylist()),
        tracklets=None if tracklets.null_count == len(table) else tuple(tracklets.fill_null(-1).to_pylist()),
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
        if "tracklet_id" not in table.column_names:  # of an earlier version
            table = table.append_column(SCHEMA.field("tracklet_id"), pa.nulls(len(table), pa.int32()))
        table = table.cast(SCHEMA)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a manifest of genvar ({error}); run the data stage again") from error
    if (outside := first_outside(table["path"].to_pylist())) is not None:
        raise UserError(
            f'{path} names the file "{outside}", wanted one below {"its folder" if root == "." else root}: it was not '
            "written by genvar, or was changed; run the data stage again"
        )
    return Manifest(table, path.parent if root == "." else Path(root), info)


def content_digests(
    paths: Sequence[Path], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[str]:
    """Digest the content of every file.

    Args:
        paths: Files.
        progress: Called every ten seconds with the number of files that are done, and of all.

    Returns:
        32 hexadecimal digits for each file, or ``MISSING`` for one that is not there or may not be read.
    """
    digests: list[str] = []
    last_call = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as threads:
        for start in range(0, len(paths), _BLOCK):
            digests += threads.map(_digest, paths[start : start + _BLOCK])
            if time.monotonic() - last_call > _SECONDS_BETWEEN_CALLS:
                last_call = time.monotonic()
                progress(len(digests), len(paths))
    return digests


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:  # named by a list, or of another owner: the check of the images names it
        return MISSING


def manifest_digest(manifest: Manifest, split: str = "train") -> str:
    """Digest the names, files and sizes of one split's images, in order; identities do not count.

    Args:
        manifest: Table of the data stage.
        split: Split whose images a mesh cache is made for.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    columns = manifest.split(split).table.select(["image_id", "path", "width", "height"]).columns
    for row in zip(*(column.to_pylist() for column in columns), strict=True):
        digest.update(("|".join(map(str, row)) + "\n").encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
