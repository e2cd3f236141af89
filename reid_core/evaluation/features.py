"""Features of images as a Parquet file: one row an image, and how the features were made.

N: images, D: feature size.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reid_core.errors import UserError

_INFO = b"genvar.features"


class Features(NamedTuple):
    """Features of images.

    Attributes:
        image_ids: Unique names, N of them: paths relative to ``root``.
        vectors: L2-normalised, (N, D) float32.
        root: Folder of the images.
        info: How the features were made; features can be compared only where ``info["encoder"]`` agrees.
    """

    image_ids: tuple[str, ...]
    vectors: np.ndarray
    root: Path
    info: dict[str, Any]

    def paths(self) -> list[Path]:
        """Return the image files, N of them."""
        return [self.root / name for name in self.image_ids]


def write_features(features: Features, path: Path) -> None:
    """Write a table of ``image_id`` and ``feature`` (a list of D float32), whole or not at all."""
    num_images, size = features.vectors.shape
    assert len(features.image_ids) == num_images, (len(features.image_ids), num_images)
    values = pa.array(np.ascontiguousarray(features.vectors, dtype=np.float32).ravel())
    columns = {
        "image_id": pa.array(features.image_ids, pa.string()),
        "feature": pa.FixedSizeListArray.from_arrays(values, size),
    }
    info = json.dumps({"root": str(features.root.absolute()), **features.info}, sort_keys=True)
    part = path.with_name(f"{path.name}.part")
    pq.write_table(pa.table(columns).replace_schema_metadata({_INFO: info.encode()}), part)
    part.replace(path)


def read_features(path: Path) -> Features:
    """Read what ``write_features`` wrote.

    Raises:
        UserError: The file is none of its files, or holds no image.
    """
    try:
        table = pq.read_table(path)
        info = json.loads((table.schema.metadata or {})[_INFO])
        column = table["feature"].combine_chunks()
        size = column.type.list_size
        vectors = column.flatten().to_numpy().reshape(len(column), size).copy()  # Arrow's memory is read-only
        image_ids = tuple(table["image_id"].to_pylist())
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is no Parquet file of features ({str(error).splitlines()[0]}); make one with genvar embed"
        ) from error
    if not len(vectors):
        raise UserError(f"{path} holds no features; make it again with genvar embed")
    return Features(image_ids, vectors, Path(info.pop("root")), info)
