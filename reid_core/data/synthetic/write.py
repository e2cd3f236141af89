"""Rendered people on disk, in the layout of Market-1501, with the truth beside the pictures."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from reid_core.data.datasets.base import MARKET_FOLDERS
from reid_core.data.synthetic.person import draw_person
from reid_core.data.synthetic.photograph import photograph_person
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.mesh.camera import Cameras

TRUTH_SHARDS = "truth_shards"  # folder of the truth of single shards, until all are merged

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),  # relative to images/
        pa.field("person_id", pa.int32(), nullable=False),
        pa.field("camera_id", pa.int32(), nullable=False),  # from 0
        pa.field("topology", pa.string(), nullable=False),
        *(pa.field(name, pa.float32(), nullable=False) for name in Cameras._fields),
        pa.field("phenotype", pa.list_(pa.float32()), nullable=False),  # 6, see reid_core.mesh.body.PHENOTYPES
        pa.field("pose_deg", pa.list_(pa.float32()), nullable=False),  # 10 bones times x, y, z
    ]
)


@dataclass(frozen=True)
class SyntheticShard:
    """A few people to photograph: a unit of work that can be sent to another process.

    Attributes:
        settings: Of the set of rendered people.
        out_dir: Folder of the set.
        first_person: From 1.
        last_person: Inclusive.
    """

    settings: SyntheticSettings
    out_dir: Path
    first_person: int
    last_person: int

    @property
    def num_images(self) -> int:
        """Pictures that the shard writes."""
        return (self.last_person - self.first_person + 1) * self.settings.images_per_person

    @property
    def truth_path(self) -> Path:
        """File of its people's truth, which is written last."""
        return self.out_dir / TRUTH_SHARDS / f"people-{self.first_person:05d}-{self.last_person:05d}.parquet"


def plan_shards(settings: SyntheticSettings, out_dir: Path, people_per_shard: int = 5) -> list[SyntheticShard]:
    """Deal all people to shards: they are numbered from 1, and training identities come first."""
    step = people_per_shard
    return [
        SyntheticShard(settings, out_dir, first, min(first + step - 1, settings.num_people))
        for first in range(1, settings.num_people + 1, step)
    ]


def render_shard(shard: SyntheticShard) -> int:
    """Write the pictures of a shard's people and then their truth; a whole shard is left as it is.

    Returns:
        Number of pictures of the shard.
    """
    if _is_whole(shard):
        return shard.num_images
    # One thread: rounding must not depend on how many cores a machine has.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        people = range(shard.first_person, shard.last_person + 1)
        rows = [row for person_id in people for row in _write_person(shard, person_id)]
    finally:
        torch.set_num_threads(threads)
    metadata = {b"settings": shard.settings.digest().encode()}
    table = pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA.with_metadata(metadata))
    _write_table(table, shard.truth_path)
    return shard.num_images


def finish(shards: Sequence[SyntheticShard], out_dir: Path) -> None:
    """Merge the truth of all shards to ``truth.parquet``, ordered by path, and delete their own files."""
    table = pa.concat_tables([pq.read_table(shard.truth_path) for shard in shards]).sort_by("path")
    assert table.num_rows == sum(shard.num_images for shard in shards), table.num_rows
    _write_table(table, out_dir / "truth.parquet")
    shutil.rmtree(out_dir / TRUTH_SHARDS)


def _is_whole(shard: SyntheticShard) -> bool:
    try:
        table = pq.read_table(shard.truth_path)
    except (OSError, pa.ArrowInvalid):
        return False
    if (table.schema.metadata or {}).get(b"settings") != shard.settings.digest().encode():
        return False
    return all((shard.out_dir / "images" / path).is_file() for path in table["path"].to_pylist())


def _write_person(shard: SyntheticShard, person_id: int) -> list[dict[str, object]]:
    """Write one person's pictures and return their truth."""
    settings = shard.settings
    phenotype = draw_person(settings.seed, person_id).phenotype
    passed_cameras: set[int] = set()
    rows = []
    for photograph in photograph_person(settings, person_id):
        # Of test identities, each camera's first picture is a query.
        is_query = photograph.camera_id not in passed_cameras
        split = "train" if person_id <= settings.num_train_people else "query" if is_query else "gallery"
        passed_cameras.add(photograph.camera_id)
        name = f"{person_id:04d}_c{photograph.camera_id + 1}s1_{photograph.index:06d}_01.jpg"
        path = f"{MARKET_FOLDERS.folders[split]}/{name}"
        target = shard.out_dir / "images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(photograph.jpeg)
        rows.append(
            {
                "path": path,
                "person_id": person_id,
                "camera_id": photograph.camera_id,
                "topology": settings.topology,
                **dict(zip(Cameras._fields, photograph.camera, strict=True)),
                "phenotype": list(phenotype),
                "pose_deg": photograph.pose.reshape(-1).tolist(),
            }
        )
    return rows


def _write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    pq.write_table(table, partial)
    partial.replace(path)
