"""One shard of the mesh cache: images in, guidance maps on disk."""

from dataclasses import dataclass
from pathlib import Path

import torch

from reid_core.mesh.body import load_body
from reid_core.mesh.cache import is_whole, write_part
from reid_core.mesh.camera import Cameras
from reid_core.mesh.guidance import ANGLES, guidance_maps
from reid_core.mesh.truth import read_truth

BODIES_A_CALL = 32  # a call of the rasteriser sees eight views of each


@dataclass(frozen=True)
class MeshShard:
    """A few images to extract; a unit of work that can be sent to another process.

    Attributes:
        path: Part of the cache to write.
        image_ids: B names.
        images: B files.
        truth_path: ``truth.parquet``, or None when nothing is known of these images.
        topology: Body mesh.
        size: Height and width of the guidance maps.
        digest: Of everything that the part depends on.
    """

    path: Path
    image_ids: tuple[str, ...]
    images: tuple[Path, ...]
    truth_path: Path | None
    topology: str
    size: tuple[int, int]
    digest: str


def extract_shard(shard: MeshShard) -> int:
    """Write a part of the mesh cache, unless it is there already; returns the number of its images."""
    count = len(shard.image_ids)
    if is_whole(shard.path, shard.image_ids, shard.digest):
        return count
    maps = torch.zeros(count, len(ANGLES), *shard.size, dtype=torch.uint8)
    if shard.truth_path is None:
        write_part(shard.path, shard.image_ids, None, maps, digest=shard.digest)
        return count
    bodies = read_truth(shard.truth_path, list(shard.images))
    body = load_body(shard.topology)
    for rows in torch.split(bodies.found.nonzero().flatten(), BODIES_A_CALL):
        vertices = body.vertices(bodies.phenotypes[rows], bodies.angles_deg[rows])
        cameras = Cameras(*(field[rows] for field in bodies.cameras))
        maps[rows] = guidance_maps(vertices, body, cameras, size=shard.size)
    write_part(shard.path, shard.image_ids, bodies, maps, digest=shard.digest)
    return count
