"""The mesh cache: guidance maps of every training image, in Parquet shards that are whole or absent.

Letters: B images asked for, A angles.
"""

import os
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from reid_core.errors import UserError
from reid_core.mesh.bodies import STATUSES, Bodies
from reid_core.mesh.guidance import ANGLES

VERSION = 1
MAP_COLUMNS = tuple(f"guidance_{angle:03d}" for angle in ANGLES)

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),  # 0 to 1; 1 for the truth
        pa.field("phenotype", pa.list_(pa.float32())),
        pa.field("pose_deg", pa.list_(pa.float32())),
        pa.field("camera", pa.list_(pa.float32())),  # in the order of reid_core.mesh.camera.Cameras
        *(pa.field(name, pa.binary()) for name in MAP_COLUMNS),  # zlib of height * width bytes, null without a mesh
    ]
)


def write_part(
    path: Path, image_ids: Sequence[str], bodies: Bodies | None, maps: Tensor, *, digest: str, status: str = "no_mesh"
) -> None:
    """Write one shard; it appears under its name only when it is whole.

    Args:
        path: ``.../part-00000.parquet``.
        image_ids: B names.
        bodies: Bodies of the images, or None when none of them has one.
        maps: Guidance maps of all angles, uint8, shape (B, 8, H, W); rows without a body are not read.
        digest: What the shard was computed from; a rerun with another digest computes it again.
        status: Why images without a body have none.
    """
    assert status in STATUSES, status
    count = len(image_ids)
    assert maps.shape[:2] == (count, len(ANGLES)), maps.shape
    found = [False] * count if bodies is None else bodies.found.tolist()
    columns: dict[str, list[object]] = {
        "image_id": list(image_ids),
        "status": ["ok" if known else status for known in found],
        "confidence": [float(known) for known in found],
    }
    for name, values in _parameters(bodies, count).items():
        columns[name] = [row if known else None for row, known in zip(values, found, strict=True)]
    for column, name in enumerate(MAP_COLUMNS):
        columns[name] = [
            zlib.compress(maps[row, column].contiguous().numpy().tobytes(), level=6) if found[row] else None
            for row in range(count)
        ]
    height, width = maps.shape[2:]
    metadata = {"version": VERSION, "digest": digest, "height": height, "width": width}
    schema = SCHEMA.with_metadata({key.encode(): str(value).encode() for key, value in metadata.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    pq.write_table(pa.table(columns, schema=schema), partial)
    partial.replace(path)


def is_whole(path: Path, image_ids: Sequence[str], digest: str) -> bool:
    """True when a shard can be read, holds these images and was computed from the same things."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return False
    metadata = table.schema.metadata or {}
    expected = {b"version": str(VERSION).encode(), b"digest": digest.encode()}
    same = all(metadata.get(key) == value for key, value in expected.items())
    return same and table["image_id"].to_pylist() == list(image_ids)


class MeshCache:
    """Guidance maps by image name; compressed in memory (under 1 KB a map at 64 x 32)."""

    def __init__(self, table: pa.Table, size: tuple[int, int]) -> None:
        self.size = size
        self._statuses: list[str] = table["status"].to_pylist()
        self._rows = {name: row for row, name in enumerate(table["image_id"].to_pylist())}
        self._maps = {angle: table[column].combine_chunks() for angle, column in zip(ANGLES, MAP_COLUMNS, strict=True)}

    def __len__(self) -> int:
        return len(self._statuses)

    def available(self, image_ids: Sequence[str]) -> Tensor:
        """True where an image has a mesh, shape (B,)."""
        return torch.tensor([self._statuses[self._rows[name]] == "ok" for name in image_ids], dtype=torch.bool)

    def guidance(self, image_ids: Sequence[str], angles: Sequence[int]) -> Tensor:
        """Return guidance maps.

        Args:
            image_ids: B names.
            angles: A rotations in degrees, multiples of 45 from 0 to 315.

        Returns:
            uint8, shape (B, A, H, W); 0 where there is no body, and everywhere for images without a mesh.
        """
        height, width = self.size
        maps = np.zeros((len(image_ids), len(angles), height, width), dtype=np.uint8)
        for row, name in enumerate(image_ids):
            for column, angle in enumerate(angles):
                packed = self._maps[angle][self._rows[name]].as_py()
                if packed is not None:
                    maps[row, column] = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, width)
        return torch.from_numpy(maps)

    def statuses(self) -> dict[str, int]:
        """Number of images of every status."""
        return dict(Counter(self._statuses))


def open_mesh_cache(folder: Path) -> MeshCache:
    """Open all shards of a mesh cache."""
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise UserError(
            f"{folder} should hold the mesh cache (part-*.parquet), but has no part; run the mesh stage again"
        )
    try:
        tables = [pq.read_table(path) for path in paths]
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"a part of the mesh cache in {folder} cannot be read ({error}); run the mesh stage again"
        ) from error
    metadata = tables[0].schema.metadata or {}
    if metadata.get(b"version") != str(VERSION).encode():
        raise UserError(
            f"the mesh cache in {folder} has another format (version {metadata.get(b'version')!r}, "
            f"wanted {VERSION}); run the mesh stage again"
        )
    size = (int(metadata[b"height"]), int(metadata[b"width"]))
    return MeshCache(pa.concat_tables([table.replace_schema_metadata() for table in tables]), size)


def _parameters(bodies: Bodies | None, count: int) -> dict[str, list[list[float]]]:
    if bodies is None:
        empty: list[list[float]] = [[] for _ in range(count)]
        return {"phenotype": empty, "pose_deg": empty, "camera": empty}
    return {
        "phenotype": bodies.phenotypes.tolist(),
        "pose_deg": bodies.angles_deg.flatten(1).tolist(),
        "camera": torch.stack(list(bodies.cameras), dim=1).tolist(),
    }
