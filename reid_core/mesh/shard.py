"""One part of the mesh cache: a Parquet file of a few images, written whole, read in place.

The maps are compressed one by one before Parquet sees them, and Parquet stores them as they are: uncompressed, plain,
one page a column. So every map lies in one piece at a place that follows from the lengths stored beside it, and many
processes read it from one mapped file instead of each keeping a copy. Any Parquet reader can read the file too.

Letters: B images, A angles, H x W pixels.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_core.mesh.bodies import Bodies
from reid_core.mesh.guidance import ANGLES

VERSION = 2
# In the order of ``num_bytes``: the person that was seen, and the guidance map of every angle.
PICTURES = ("mask", *(f"guidance_{angle:03d}" for angle in ANGLES))
_LENGTH_BYTES = 4  # Parquet writes the length of a plain binary value before it

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # one of reid_core.mesh.bodies.STATUSES
        pa.field("confidence", pa.float32(), nullable=False),  # 0 to 1; 1 for the truth
        pa.field("mask_iou", pa.float32(), nullable=False),  # nan where unknown
        pa.field("reprojection", pa.float32(), nullable=False),  # fraction of the person's height, nan where unknown
        pa.field("phenotype", pa.list_(pa.float32())),  # null without a mesh, and for other body models
        pa.field("pose_deg", pa.list_(pa.float32())),  # the same
        pa.field("camera", pa.list_(pa.float32())),  # in the order of reid_core.mesh.camera.Cameras
        pa.field("num_bytes", pa.list_(pa.int32()), nullable=False),  # of each of PICTURES
        # zlib of height * width bytes; empty where there is none.
        *(pa.field(name, pa.binary(), nullable=False) for name in PICTURES),
    ]
)


@dataclass(frozen=True)
class PartInfo:
    """What a part was made from; the same in every part of a cache.

    Attributes:
        digest: Of everything that the part depends on; a rerun with another digest computes it again.
        manifest: Of the images that the data stage listed.
        source: Where the bodies come from.
        topology: Body mesh, empty where none was drawn.
        height: Of the maps, pixels.
        width: Of the maps, pixels.
        version: Of the format.
    """

    digest: str
    manifest: str
    source: str
    topology: str
    height: int
    width: int
    version: int = VERSION

    def metadata(self) -> dict[bytes, bytes]:
        """Return the entries of the Parquet file's metadata."""
        return {name.encode(): str(value).encode() for name, value in asdict(self).items()}


def read_info(metadata: Mapping[bytes, bytes] | None) -> PartInfo:
    """Read what ``PartInfo.metadata`` wrote; a KeyError or ValueError for anything else."""
    known = metadata or {}
    if (version := int(known[b"version"])) != VERSION:
        raise OtherVersionError(version)
    text = {name: known[name.encode()].decode() for name in ("digest", "manifest", "source", "topology")}
    height, width = (int(known[name]) for name in (b"height", b"width"))
    return PartInfo(text["digest"], text["manifest"], text["source"], text["topology"], height, width)


def write_part(path: Path, image_ids: Sequence[str], bodies: Bodies, maps: Tensor, info: PartInfo) -> None:
    """Write one part; it appears under its name only when it is whole. The same arguments give the same bytes.

    Args:
        path: ``.../part-00000.parquet``.
        image_ids: B names.
        bodies: Of the images.
        maps: Guidance maps of all angles, uint8, shape (B, 8, H, W); rows without a body are not read.
        info: What the part was made from.
    """
    count = len(image_ids)
    assert maps.shape == (count, len(ANGLES), info.height, info.width), maps.shape
    assert len(bodies) == count, (len(bodies), count)
    found = bodies.found.tolist()
    pictures = [[_packed(bodies.masks, row), *_packed_maps(maps, row, known)] for row, known in enumerate(found)]
    columns: dict[str, list[Any]] = {
        "image_id": list(image_ids),
        "status": list(bodies.status),
        "confidence": bodies.confidence.tolist(),
        "mask_iou": bodies.mask_iou.tolist(),
        "reprojection": bodies.reprojection.tolist(),
        "phenotype": _known_rows(bodies.phenotypes, found),
        "pose_deg": _known_rows(bodies.angles_deg.flatten(1), found),
        "camera": _known_rows(torch.stack(list(bodies.cameras), dim=1), found),
        "num_bytes": [[len(packed) for packed in row] for row in pictures],
        **{name: [row[column] for row in pictures] for column, name in enumerate(PICTURES)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    pq.write_table(
        pa.table(columns, schema=SCHEMA.with_metadata(info.metadata())),
        partial,
        row_group_size=max(1, count),
        compression="NONE",
        use_dictionary=False,
        write_statistics=False,
        data_page_size=1 << 30,  # one page a column: see above
        data_page_version="1.0",
    )
    partial.replace(path)


def is_whole(path: Path, image_ids: Sequence[str], digest: str) -> bool:
    """True when a part can be read, holds these images and was computed from the same things."""
    try:
        table = pq.read_table(path)  # to its last byte
        info = read_info(table.schema.metadata)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return False
    return info.digest == digest and table["image_id"].to_pylist() == list(image_ids)


@dataclass(frozen=True)
class Part:
    """An open part.

    Attributes:
        info: What it was made from.
        table: Every column but the pictures, B rows.
        content: The file, mapped into memory.
        starts: Where each picture begins in the file, shape (B, 9).
        sizes: Bytes of each picture, shape (B, 9).
    """

    info: PartInfo
    table: pa.Table
    content: pa.Buffer
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


def open_part(path: Path) -> Part:
    """Map a part and find its pictures; none of them is read yet.

    Raises:
        OSError, KeyError, ValueError, pa.ArrowException: The file is no part of this format.
    """
    with pa.memory_map(str(path)) as file:
        content = file.read_buffer()  # stays mapped when the file is closed, so that no descriptor is held
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        info = read_info(file.schema_arrow.metadata)
        table = file.read([field.name for field in SCHEMA if field.name not in PICTURES])
        chunks = {}
        if file.metadata.num_row_groups == 1:
            group = file.metadata.row_group(0)
            chunks = {
                chunk.path_in_schema: chunk for chunk in (group.column(i) for i in range(file.metadata.num_columns))
            }
    lengths = table["num_bytes"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    sizes = lengths.astype(np.int64).reshape(table.num_rows, len(PICTURES))
    # The values end where their column ends, so the page's header need not be understood.
    ends = np.array([chunks[name].data_page_offset + chunks[name].total_compressed_size for name in PICTURES])
    starts = ends - (sizes + _LENGTH_BYTES)[::-1].cumsum(axis=0)[::-1] + _LENGTH_BYTES
    return Part(info, table, content, starts, sizes)


def read_picture(part: Part, row: int, column: int) -> NDArray[np.uint8] | None:
    """Return one of ``PICTURES`` of an image, shape (H, W), or None when it has none.

    Raises:
        ValueError, zlib.error: The file was damaged after it was written.
    """
    start, size = int(part.starts[row, column]), int(part.sizes[row, column])
    content = memoryview(part.content)
    if int.from_bytes(content[start - _LENGTH_BYTES : start], "little") != size:
        raise ValueError(f"a picture of {size} bytes should begin at byte {start}")
    if size == 0:
        return None
    unpacked = zlib.decompress(content[start : start + size])
    return np.frombuffer(unpacked, np.uint8).reshape(part.info.height, part.info.width)


class OtherVersionError(ValueError):
    """The part has another format."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


def _packed(masks: Tensor | None, row: int) -> bytes:
    return b"" if masks is None or not bool(masks[row].any()) else _compressed(masks[row])


def _packed_maps(maps: Tensor, row: int, known: bool) -> list[bytes]:
    return [_compressed(picture) if known else b"" for picture in maps[row]]


def _compressed(picture: Tensor) -> bytes:
    return zlib.compress(picture.contiguous().numpy().tobytes(), level=6)


def _known_rows(values: Tensor, found: Sequence[bool]) -> list[list[float] | None]:
    return [row if known else None for row, known in zip(values.tolist(), found, strict=True)]
