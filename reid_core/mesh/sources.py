"""Sources of bodies: each is a picklable object that makes of a few image files what it knows of their bodies.

Here: rendered people with their truth beside them, photographs, and no source at all. Others stand in
``rendered_maps`` and ``smpl_source``.

Letters: N images, A angles, H x W pixels of the guidance maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from reid_core.errors import UserError
from reid_core.mesh.body import PHENOTYPES, POSED_BONES, Bodies, load_body, no_bodies
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import ANGLES, guidance_maps
from reid_core.mesh.observe import open_photograph

BODIES_A_CALL = 32  # a call of the rasteriser sees eight views of each
# Everything but the identity: meshes serve training, and training must not know who is who.
TRUTH_COLUMNS = ("path", *Cameras._fields, "phenotype", "pose_deg")


class Extracted(NamedTuple):
    """Bodies of N images and their guidance maps.

    Attributes:
        bodies: N rows.
        maps: Of all angles, zeros without a body, uint8 on the CPU, shape (N, 8, H, W).
    """

    bodies: Bodies
    maps: Tensor


class Source(Protocol):
    """Makes of N image files what is known of their bodies; never raises for a single picture."""

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Extract bodies.

        Args:
            images: N files.
            size: Height and width of the maps.
            num_threads: That the source may use.

        Returns:
            Of N images, in order.
        """
        ...


@dataclass(frozen=True)
class NoSource:
    """Knows of no body."""

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Return N images without a mesh."""
        return without_bodies(["no_mesh"] * len(images), size)


@dataclass(frozen=True)
class TruthSource:
    """Knows the bodies of rendered people from the truth beside them.

    Attributes:
        path: ``truth.parquet``.
        topology: Body mesh to draw.
        device: That draws, as torch names it.
    """

    path: Path
    topology: str
    device: str = "cpu"

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Look the images up."""
        return render_bodies(read_truth(self.path, list(images)), self.topology, torch.device(self.device), size)


@dataclass(frozen=True)
class EstimateSource:
    """Finds bodies in photographs.

    Attributes:
        topology: Body mesh to fit and to draw.
        device: That fits and draws, as torch names it.
    """

    topology: str
    device: str = "cpu"

    def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
        """Decode the photographs, find the bodies and draw them."""
        from reid_core.mesh.estimate import estimate_bodies  # here, because it loads MediaPipe, which takes seconds

        device = torch.device(self.device)
        pictures = [open_photograph(path) for path in images]
        readable = [picture for picture in pictures if picture is not None]
        if not readable:
            return without_bodies(["unreadable"] * len(images), size)
        known = torch.tensor([picture is not None for picture in pictures], dtype=torch.bool)
        bodies = estimate_bodies(readable, size=size, topology=self.topology, device=device, num_threads=num_threads)
        return put_back(render_bodies(bodies, self.topology, device, size), known, "unreadable")


def render_bodies(bodies: Bodies, topology: str, device: torch.device, size: tuple[int, int]) -> Extracted:
    """Draw every body from eight sides.

    Args:
        bodies: Of N images.
        topology: Body mesh to draw.
        device: That draws.
        size: Height and width of the maps.

    Returns:
        The bodies and their maps.
    """
    maps = torch.zeros(len(bodies), len(ANGLES), *size, dtype=torch.uint8)
    if not bool(bodies.found.any()):
        return Extracted(bodies, maps)
    body = load_body(topology)
    for rows in torch.split(bodies.found.nonzero().flatten(), BODIES_A_CALL):
        vertices = body.vertices(bodies.phenotypes[rows], bodies.angles_deg[rows]).to(device)
        cameras = Cameras(*(field[rows].to(device) for field in bodies.cameras))
        maps[rows] = guidance_maps(vertices, body, cameras, size=size).cpu()
    return Extracted(bodies, maps)


def read_truth(path: Path, images: list[Path]) -> Bodies:
    """Read the bodies of images from ``truth.parquet``.

    Args:
        path: The truth file; its paths are relative to the folder ``images`` beside it.
        images: Absolute files, N of them.

    Returns:
        Bodies in the order of ``images``.
    """
    try:
        table = pq.read_table(path, columns=list(TRUTH_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path} should hold the bodies of the rendered people, but cannot be read ({error}); "
            "run the data stage again"
        ) from error
    rows = {name: row for row, name in enumerate(table["path"].to_pylist())}
    folder = path.parent / "images"
    inside = [image.relative_to(folder).as_posix() if image.is_relative_to(folder) else "" for image in images]
    index = torch.tensor([rows.get(name, -1) for name in inside], dtype=torch.long)  # -1: the row of zeros at the end
    found = index >= 0

    def column(name: str, *shape: int) -> Tensor:
        """Read a column for the images, shape (N, *shape)."""
        values = table[name].combine_chunks()
        flat = values.flatten() if shape else values
        known = torch.from_numpy(np.array(flat.to_numpy(zero_copy_only=False), dtype=np.float32)).reshape(-1, *shape)
        return torch.cat([known, known.new_zeros(1, *shape)])[index]

    return replace(
        no_bodies(["ok" if is_found else "no_mesh" for is_found in found.tolist()]),
        confidence=found.float(),
        phenotypes=column("phenotype", len(PHENOTYPES)),
        angles_deg=column("pose_deg", len(POSED_BONES), 3),
        cameras=Cameras(*(column(name) for name in Cameras._fields)),
    )


def without_bodies(status: Sequence[str], size: tuple[int, int]) -> Extracted:
    """Return N images without a body, each with its reason."""
    return Extracted(no_bodies(status), torch.zeros(len(status), len(ANGLES), *size, dtype=torch.uint8))


def put_back(extracted: Extracted, known: Tensor, status: str) -> Extracted:
    """Spread what is known of some images over all of them.

    Args:
        extracted: Of M images.
        known: True at the M images among N that these are, shape (N,).
        status: Of the others.

    Returns:
        Of N images.
    """
    if bool(known.all()):
        return extracted
    maps = extracted.maps.new_zeros(len(known), *extracted.maps.shape[1:])
    maps[known] = extracted.maps
    return Extracted(extracted.bodies.spread(known, status), maps)
