"""Bodies and cameras of rendered people, from the truth that was written beside the pictures."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from reid_core.errors import UserError
from reid_core.mesh.bodies import Bodies
from reid_core.mesh.body import PHENOTYPES, POSED_BONES
from reid_core.mesh.camera import Cameras

# Everything but the identity: meshes serve training, and training must not know who is who.
COLUMNS = ("path", *Cameras._fields, "phenotype", "pose_deg")


def read_truth(path: Path, images: list[Path]) -> Bodies:
    """Read the bodies of images from ``truth.parquet``.

    Args:
        path: The truth file; its paths are relative to the folder ``images`` beside it.
        images: Absolute files, N of them.

    Returns:
        Bodies in the order of ``images``.
    """
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path} should hold the bodies of the rendered people, but cannot be read ({error}); "
            "run the data stage again"
        ) from error
    rows = {name: row for row, name in enumerate(table["path"].to_pylist())}
    folder = path.parent / "images"
    wanted = [
        rows.get(image.relative_to(folder).as_posix(), -1) if image.is_relative_to(folder) else -1 for image in images
    ]
    index = torch.tensor(wanted, dtype=torch.long)
    found = index >= 0

    def column(name: str, *shape: int) -> Tensor:
        values = table[name].combine_chunks()
        flat = values.flatten() if shape else values
        known = torch.from_numpy(np.array(flat.to_numpy(zero_copy_only=False), dtype=np.float32)).reshape(-1, *shape)
        padded = torch.cat([known, known.new_zeros(1, *shape)])
        return padded[index]

    cameras = Cameras(*(column(name) for name in Cameras._fields))
    return Bodies(
        status=tuple("ok" if known else "no_mesh" for known in found.tolist()),
        confidence=found.float(),
        phenotypes=column("phenotype", len(PHENOTYPES)),
        angles_deg=column("pose_deg", len(POSED_BONES), 3),
        cameras=cameras,
        masks=None,
        mask_iou=torch.full((len(images),), float("nan")),
        reprojection=torch.full((len(images),), float("nan")),
    )
