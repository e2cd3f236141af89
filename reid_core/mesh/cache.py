"""The mesh cache: bodies and guidance maps of every training image, in Parquet files of a few images each.

A map is raw bytes in a column of its own, compressed by Parquet in row groups of four images. So one map of one image
is read without the rest, straight from the mapped file, whose pages all processes of a machine share.

Rejected: an Arrow file a process, mapped (seven times as fast, but five times the size on disk, for every rank), and
``pyarrow.dataset.take`` (a thousand times as slow). See ``benchmarks/mesh_cache.py``.

Letters: N images of the cache, B images asked for or of one shard, A angles, H x W pixels.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_core.errors import UserError
from reid_core.mesh.body import Bodies
from reid_core.mesh.guidance import ANGLES

VERSION = 3
# The person that was seen, and the guidance map of every angle.
PICTURES = ("mask", *(f"guidance_{angle:03d}" for angle in ANGLES))
SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # one of reid_core.mesh.body.STATUSES
        pa.field("confidence", pa.float32(), nullable=False),  # 0 to 1; 1 for the truth
        pa.field("mask_iou", pa.float32(), nullable=False),  # nan where unknown
        pa.field("reprojection", pa.float32(), nullable=False),  # fraction of the person's height, nan where unknown
        pa.field("phenotype", pa.list_(pa.float32())),  # null without a mesh, and for other body models
        pa.field("pose_deg", pa.list_(pa.float32())),  # the same
        pa.field("camera", pa.list_(pa.float32())),  # in the order of reid_core.mesh.camera.Cameras
        *(pa.field(name, pa.binary()) for name in PICTURES),  # height * width bytes, null where there is none
    ]
)
# Images of a row group: one makes files a tenth larger and memory three times, eight make reading a third slower.
_GROUP = 4
_AGAIN = "run the mesh stage again"


@dataclass(frozen=True)
class CacheInfo:
    """Facts about the origin of a cache; the same in all of its shards, in their files' metadata.

    Attributes:
        digest: Of everything that the maps depend on; a rerun with another digest computes them again.
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

    def to_metadata(self) -> dict[bytes, bytes]:
        """Return the entries of a Parquet file's metadata."""
        return {name.encode(): str(value).encode() for name, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes] | None) -> "CacheInfo":
        """Read what ``to_metadata`` wrote; a KeyError or ValueError for anything else."""
        known = metadata or {}
        if (version := int(known[b"version"])) != VERSION:
            raise OtherVersionError(version)
        digest, manifest, source, topology = (
            known[name].decode() for name in (b"digest", b"manifest", b"source", b"topology")
        )
        return cls(digest, manifest, source, topology, height=int(known[b"height"]), width=int(known[b"width"]))


class OtherVersionError(ValueError):
    """A shard of another format."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


def write_shard(path: Path, image_ids: Sequence[str], bodies: Bodies, maps: Tensor, info: CacheInfo) -> None:
    """Write one shard; it appears under its name only when it is whole. The same arguments give the same bytes.

    Args:
        path: ``.../part-00000.parquet``.
        image_ids: B names.
        bodies: Of the images.
        maps: Guidance maps of all angles, uint8, shape (B, 8, H, W); rows without a body are not read.
        info: Origin of the cache.
    """
    count = len(image_ids)
    assert maps.shape == (count, len(ANGLES), info.height, info.width), maps.shape
    assert len(bodies) == count, (len(bodies), count)
    found = bodies.found.tolist()
    seen = [False] * count if bodies.masks is None else bodies.masks.flatten(1).any(dim=1).tolist()
    pictures = {name: _column(maps[:, index], found, _to_bytes) for index, name in enumerate(PICTURES[1:])}
    columns: dict[str, list[Any]] = {
        "image_id": list(image_ids),
        "status": list(bodies.status),
        "confidence": bodies.confidence.tolist(),
        "mask_iou": bodies.mask_iou.tolist(),
        "reprojection": bodies.reprojection.tolist(),
        "phenotype": _column(bodies.phenotypes, found, Tensor.tolist),
        "pose_deg": _column(bodies.angles_deg.flatten(1), found, Tensor.tolist),
        "camera": _column(torch.stack(list(bodies.cameras), dim=1), found, Tensor.tolist),
        "mask": [None] * count if bodies.masks is None else _column(bodies.masks, seen, _to_bytes),
        **pictures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    pq.write_table(
        pa.table(columns, schema=SCHEMA.with_metadata(info.to_metadata())),
        partial,
        row_group_size=_GROUP,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    partial.replace(path)


def is_whole(path: Path, image_ids: Sequence[str], digest: str) -> bool:
    """True when a shard can be read, holds these images and was computed from the same things."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)  # to its last byte
        info = CacheInfo.from_metadata(table.schema.metadata)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return False
    return info.digest == digest and table["image_id"].to_pylist() == list(image_ids)


class MeshCache:
    """Guidance maps by image name. Picklable: another process opens the same files.

    Attributes:
        info: Origin of the cache.
        size: Height and width of the maps.
        num_bytes: Of all shards together.
    """

    def __init__(self, folder: Path, shards: Sequence["_Shard"]) -> None:
        self.info: CacheInfo = shards[0].info
        self.size = (self.info.height, self.info.width)
        self.num_bytes = sum(shard.num_bytes for shard in shards)
        self._folder = folder
        self._files = [shard.file for shard in shards]
        self._table = pa.concat_tables([shard.table for shard in shards])
        places = [(place, row) for place, shard in enumerate(shards) for row in range(shard.table.num_rows)]
        self._places = dict(zip(self._table["image_id"].to_pylist(), places, strict=True))
        statuses = self._table["status"].to_pylist()
        self._found = {name: status == "ok" for name, status in zip(self._places, statuses, strict=True)}
        self._lock = threading.Lock()  # a batch may be read in a thread; Parquet does not promise that files can share

    def __len__(self) -> int:
        return len(self._places)

    def __reduce__(self) -> tuple[object, ...]:
        return open_mesh_cache, (self._folder,)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """N names, in the order of the manifest."""
        return tuple(self._places)

    def available(self, image_ids: Sequence[str]) -> Tensor:
        """True where an image has a mesh, shape (B,)."""
        try:
            return torch.tensor([self._found[name] for name in image_ids], dtype=torch.bool)
        except KeyError as error:
            raise UserError(
                f"the mesh cache in {self._folder} should hold the image {error}, but does not; {_AGAIN}"
            ) from error

    def guidance(self, image_ids: Sequence[str], angles: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        """Return guidance maps; only these are read.

        Args:
            image_ids: B names.
            angles: A rotations in degrees, multiples of 45 from 0 to 315, for all images or for each, (A,) or (B, A).

        Returns:
            uint8, shape (B, A, H, W); 0 where there is no body, and everywhere for images without a mesh.
        """
        wanted = np.asarray(angles)
        wanted = np.broadcast_to(wanted, (len(image_ids), wanted.shape[-1]))
        return self._pictures(image_ids, [[f"guidance_{angle:03d}" for angle in row] for row in wanted.tolist()])

    def masks(self, image_ids: Sequence[str]) -> Tensor:
        """Return the persons that were seen, uint8, shape (B, H, W); 0 everywhere where nobody was looked for."""
        return self._pictures(image_ids, [["mask"]] * len(image_ids))[:, 0]

    def column(self, name: str) -> NDArray[np.float32]:
        """Return ``confidence``, ``mask_iou`` or ``reprojection`` of all images, shape (N,)."""
        return np.asarray(self._table[name].to_numpy(), dtype=np.float32)

    def table(self) -> pa.Table:
        """Return everything but the pictures, N rows."""
        return self._table

    def statuses(self) -> dict[str, int]:
        """Number of images of every status."""
        return dict(Counter(self._table["status"].to_pylist()))

    def _pictures(self, image_ids: Sequence[str], columns: Sequence[Sequence[str]]) -> Tensor:
        """Read C columns of ``PICTURES`` of each image, shape (B, C, H, W)."""
        pictures = np.zeros((len(image_ids), len(columns[0]) if columns else 0, *self.size), dtype=np.uint8)
        for index, (image_id, names) in enumerate(zip(image_ids, columns, strict=True)):
            place, row = self._places[image_id]
            try:
                with self._lock:
                    group = self._files[place].read_row_group(row // _GROUP, columns=list(names), use_threads=False)
                for slot, name in enumerate(names):
                    if (content := group[name][row % _GROUP].as_py()) is not None:
                        pictures[index, slot] = np.frombuffer(content, np.uint8).reshape(self.size)
            except (OSError, ValueError, pa.ArrowException) as error:
                reason = str(error).split("\n")[0][:200]
                raise UserError(
                    f"the mesh cache in {self._folder} is damaged (shard {place}, image {image_id}: {reason}); {_AGAIN}"
                ) from error
        return torch.from_numpy(pictures)


def open_mesh_cache(folder: Path, *, manifest: str | None = None) -> MeshCache:
    """Open all shards of a mesh cache; names and numbers are read, the pictures stay in the files.

    Args:
        folder: ``.../mesh_cache``.
        manifest: Digest of the images that the maps are wanted for; None asks nothing.

    Returns:
        The cache.
    """
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise UserError(f"{folder} should hold a mesh cache (part-*.parquet), but has no shard; {_AGAIN}")
    shards = [_open_shard(path) for path in paths]
    for path, shard in zip(paths, shards, strict=True):
        if shard.info != shards[0].info:
            raise UserError(f"{path} belongs to another mesh cache than {paths[0].name} beside it; {_AGAIN}")
    made_for = shards[0].info.manifest
    if manifest is not None and made_for != manifest:
        raise UserError(
            f"the mesh cache in {folder} was made for other images (manifest {made_for}, wanted {manifest}); "
            f"{_AGAIN} on this data"
        )
    return MeshCache(folder, shards)


@dataclass(frozen=True)
class _Shard:
    """An open shard.

    Attributes:
        info: Origin of its cache.
        table: Every column but the pictures, B rows.
        file: Reads the pictures.
        num_bytes: Of the whole file.
    """

    info: CacheInfo
    table: pa.Table
    file: pq.ParquetFile
    num_bytes: int


def _open_shard(path: Path) -> _Shard:
    """Map a shard and read its names and numbers; a UserError when it is no shard of this format."""
    try:
        with pa.memory_map(str(path)) as file:
            content = file.read_buffer()  # stays mapped when the file is closed, so that no descriptor is held
        parquet = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True, pre_buffer=False)
        info = CacheInfo.from_metadata(parquet.schema_arrow.metadata)
        table = parquet.read([field.name for field in SCHEMA if field.name not in PICTURES], use_threads=False)
    except OtherVersionError as error:
        raise UserError(
            f"{path} has another format of the mesh cache (version {error.version}, wanted {VERSION}); {_AGAIN}"
        ) from error
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"{path} is no whole shard of a mesh cache ({reason}); {_AGAIN}") from error
    return _Shard(info, table.replace_schema_metadata(), parquet, content.size)


def _column(values: Tensor, known: Sequence[bool], convert: Callable[[Tensor], Any]) -> list[Any]:
    """Convert the known rows of values of shape (B, ...); None stands for the others."""
    return [convert(row) if is_known else None for row, is_known in zip(values, known, strict=True)]


def _to_bytes(picture: Tensor) -> bytes:
    return picture.contiguous().numpy().tobytes()
