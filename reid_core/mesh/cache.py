"""The mesh cache: guidance maps of every training image, read from its parts when they are asked for.

Opening reads names and places, a few hundred bytes an image; the maps stay in the files, which the processes of a
machine share through the memory that the system maps them into.

Letters: N images of the cache, B images asked for, A angles.
"""

import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_core.errors import UserError
from reid_core.mesh.shard import PICTURES, VERSION, OtherVersionError, Part, PartInfo, open_part, read_picture

_AGAIN = "run the mesh stage again"


class MeshCache:
    """Guidance maps by image name. Picklable: another process opens the same files.

    Attributes:
        info: What the cache was made from.
        size: Height and width of the maps.
        num_bytes: Of all parts together.
    """

    def __init__(self, folder: Path, parts: Sequence[Part]) -> None:
        self.info: PartInfo = parts[0].info
        self.size = (self.info.height, self.info.width)
        self.num_bytes = sum(part.content.size for part in parts)
        self._folder = folder
        self._parts = tuple(parts)
        self._statuses: list[str] = [status for part in parts for status in part.table["status"].to_pylist()]
        names = [(name, place) for place, part in enumerate(parts) for name in part.table["image_id"].to_pylist()]
        first = np.cumsum([0, *(part.table.num_rows for part in parts)]).tolist()
        self._rows = {name: (place, row - first[place]) for row, (name, place) in enumerate(names)}
        self._found = {name: status == "ok" for (name, _), status in zip(names, self._statuses, strict=True)}

    def __len__(self) -> int:
        return len(self._statuses)

    def __reduce__(self) -> tuple[object, ...]:
        return open_mesh_cache, (self._folder,)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """N names, in the order of the manifest."""
        return tuple(self._rows)

    def available(self, image_ids: Sequence[str]) -> Tensor:
        """True where an image has a mesh, shape (B,)."""
        try:
            return torch.tensor([self._found[name] for name in image_ids], dtype=torch.bool)
        except KeyError as error:
            raise UserError(
                f"the mesh cache in {self._folder} should hold the image {error}, but does not; {_AGAIN}"
            ) from error

    def guidance(self, image_ids: Sequence[str], angles: Sequence[int]) -> Tensor:
        """Return guidance maps; only these are decoded.

        Args:
            image_ids: B names.
            angles: A rotations in degrees, multiples of 45 from 0 to 315.

        Returns:
            uint8, shape (B, A, H, W); 0 where there is no body, and everywhere for images without a mesh.
        """
        return self._pictures(image_ids, [PICTURES.index(f"guidance_{angle:03d}") for angle in angles])

    def turned(self, image_ids: Sequence[str], angles: Sequence[int]) -> Tensor:
        """Return one guidance map an image, at an angle of its own: B names and B degrees, uint8, shape (B, H, W)."""
        maps = torch.zeros(len(image_ids), *self.size, dtype=torch.uint8)
        for row, (name, angle) in enumerate(zip(image_ids, angles, strict=True)):
            maps[row] = self.guidance([name], [angle])[0, 0]
        return maps

    def masks(self, image_ids: Sequence[str]) -> Tensor:
        """Return the persons that were seen, uint8, shape (B, H, W); 0 everywhere where nobody was looked for."""
        return self._pictures(image_ids, [PICTURES.index("mask")])[:, 0]

    def column(self, name: str) -> NDArray[np.float32]:
        """Return ``confidence``, ``mask_iou`` or ``reprojection`` of all images, shape (N,)."""
        return np.concatenate([part.table[name].to_numpy().astype(np.float32) for part in self._parts])

    def table(self) -> pa.Table:
        """Return everything but the pictures, N rows."""
        return pa.concat_tables([part.table.replace_schema_metadata() for part in self._parts])

    def statuses(self) -> dict[str, int]:
        """Number of images of every status."""
        return dict(Counter(self._statuses))

    def _pictures(self, image_ids: Sequence[str], columns: Sequence[int]) -> Tensor:
        pictures = np.zeros((len(image_ids), len(columns), *self.size), dtype=np.uint8)
        for index, name in enumerate(image_ids):
            place, row = self._rows[name]
            for slot, column in enumerate(columns):
                try:
                    picture = read_picture(self._parts[place], row, column)
                except (ValueError, zlib.error) as error:
                    raise UserError(
                        f"the mesh cache in {self._folder} is damaged (part {place}, image {name}: {error}); {_AGAIN}"
                    ) from error
                if picture is not None:
                    pictures[index, slot] = picture
        return torch.from_numpy(pictures)


def open_mesh_cache(folder: Path, *, manifest: str | None = None) -> MeshCache:
    """Open all parts of a mesh cache.

    Args:
        folder: ``.../mesh_cache``.
        manifest: Digest of the images that the maps are wanted for; None asks nothing.

    Returns:
        The cache.
    """
    paths = sorted(folder.glob("part-*.parquet"))
    if not paths:
        raise UserError(f"{folder} should hold a mesh cache (part-*.parquet), but has no part; {_AGAIN}")
    parts = [_open(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.info != parts[0].info:
            raise UserError(f"{path} belongs to another mesh cache than {paths[0].name} beside it; {_AGAIN}")
    made_for = parts[0].info.manifest
    if manifest is not None and made_for != manifest:
        raise UserError(
            f"the mesh cache in {folder} was made for other images (manifest {made_for}, wanted {manifest}); "
            f"{_AGAIN} on this data"
        )
    return MeshCache(folder, parts)


def _open(path: Path) -> Part:
    try:
        return open_part(path)
    except OtherVersionError as error:
        raise UserError(
            f"{path} has another format of the mesh cache (version {error.version}, wanted {VERSION}); {_AGAIN}"
        ) from error
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        reason = str(error).split("\n")[0][:200]
        raise UserError(f"{path} is no whole part of a mesh cache ({reason}); {_AGAIN}") from error
