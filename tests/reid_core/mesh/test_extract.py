from pathlib import Path

import torch

from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import finish, plan_shards, render_shard
from reid_core.mesh.cache import open_mesh_cache
from reid_core.mesh.extract import MeshShard, extract_shard


def shard_of(images: tuple[Path, ...], out_dir: Path, truth: Path | None, digest: str = "d") -> MeshShard:
    ids = tuple(f"train-{index:06d}" for index in range(len(images)))
    return MeshShard(out_dir / "part-00000.parquet", ids, images, truth, "notoes_collapse3pc", (32, 16), digest)


def test_rendered_people_get_maps_and_a_rerun_keeps_them(tmp_path: Path) -> None:
    settings = SyntheticSettings(1, 1, 4, 2, 32, 16, topology="notoes_collapse3pc")
    for people in plan_shards(settings, tmp_path):
        render_shard(people)
    finish(settings, tmp_path)
    images = (*sorted((tmp_path / "images/bounding_box_train").glob("*.jpg")), tmp_path / "stranger.jpg")
    shard = shard_of(images, tmp_path / "cache", tmp_path / "truth.parquet")
    assert extract_shard(shard) == 5
    cache = open_mesh_cache(tmp_path / "cache")
    assert cache.available(shard.image_ids).tolist() == [True] * 4 + [False]
    covered = (cache.guidance(shard.image_ids[:4], [0, 90]) > 0).float().mean(dim=(2, 3))
    assert bool((covered > 0.15).all())

    written = shard.path.stat().st_mtime_ns
    assert extract_shard(shard) == 5
    assert shard.path.stat().st_mtime_ns == written
    extract_shard(shard_of(images, tmp_path / "cache", None, digest="other"))
    assert open_mesh_cache(tmp_path / "cache").statuses() == {"no_mesh": 5}


def test_photographs_without_truth_have_no_mesh(tmp_path: Path) -> None:
    extract_shard(shard_of((tmp_path / "a.jpg", tmp_path / "b.jpg"), tmp_path, None))
    cache = open_mesh_cache(tmp_path)
    assert cache.statuses() == {"no_mesh": 2}
    assert torch.equal(cache.guidance(["train-000001"], [180]), torch.zeros(1, 1, 32, 16, dtype=torch.uint8))
