from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infra.compute.local import LocalCompute
from infra.compute.ray import RayCompute
from reid_core.data.synthetic.settings import SyntheticSettings
from reid_core.data.synthetic.write import finish, plan_shards, render_shard
from reid_core.mesh.cache import CacheInfo, open_mesh_cache
from reid_core.mesh.extract import MeshShard, extract_shard
from reid_core.mesh.sources import Extracted, NoSource, Source, TruthSource, without_bodies
from tests.reid_core.mesh.crashing_source import CrashingSource

INFO = CacheInfo("d", "m", "truth", "notoes_collapse3pc", 32, 16)


def shard_of(images: Sequence[Path], out_dir: Path, source: Source, digest: str = "d", part: int = 0) -> MeshShard:
    ids = tuple(f"train-{part:03d}{index:03d}" for index in range(len(images)))
    path = out_dir / f"part-{part:05d}.parquet"
    return MeshShard(path, ids, tuple(images), source, replace(INFO, digest=digest), run="run")


def test_rendered_people_get_maps_and_a_rerun_keeps_them(tmp_path: Path) -> None:
    settings = SyntheticSettings(1, 1, 4, 2, 32, 16, topology="notoes_collapse3pc")
    for people in (shards := plan_shards(settings, tmp_path)):
        render_shard(people)
    finish(shards, tmp_path)
    images = (*sorted((tmp_path / "images/bounding_box_train").glob("*.jpg")), tmp_path / "stranger.jpg")
    truth = TruthSource(tmp_path / "truth.parquet", "notoes_collapse3pc")
    shard = shard_of(images, tmp_path / "cache", truth)
    assert not extract_shard(shard)
    cache = open_mesh_cache(tmp_path / "cache")
    assert cache.available(shard.image_ids).tolist() == [True] * 4 + [False]
    covered = (cache.guidance(shard.image_ids[:4], [0, 90]) > 0).float().mean(dim=(2, 3))
    assert bool((covered > 0.15).all())
    assert cache.column("confidence").tolist() == [1, 1, 1, 1, 0]

    written = shard.path.stat().st_mtime_ns
    assert extract_shard(shard)
    assert shard.path.stat().st_mtime_ns == written
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["part-00000.parquet"]
    assert not extract_shard(shard_of(images, tmp_path / "cache", NoSource(), digest="other"))
    assert open_mesh_cache(tmp_path / "cache").statuses() == {"no_mesh": 5}


def test_threads_are_as_before(tmp_path: Path) -> None:
    seen: list[int] = []

    class Look:
        def __call__(self, images: Sequence[Path], *, size: tuple[int, int], num_threads: int) -> Extracted:
            seen.append(torch.get_num_threads())
            return without_bodies(["no_person"] * len(images), size)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        extract_shard(shard_of([tmp_path / "a.jpg"], tmp_path, Look()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert seen == [1]


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_an_image_that_ends_its_worker_twice_is_skipped(
    executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    names = (("a", "crash", "b"), ("c", "d", "e"))
    shards = [
        shard_of([tmp_path / f"{name}.jpg" for name in row], tmp_path / "cache", CrashingSource(), part=part)
        for part, row in enumerate(names)
    ]
    compute: LocalCompute | RayCompute = LocalCompute(num_cpus=2) if executor == "local" else RayCompute(num_cpus=2)
    try:
        compute.map_shards(extract_shard, shards, description="Extracting")
    finally:
        compute.close()
    cache = open_mesh_cache(tmp_path / "cache")
    words = cache.table()["status"].to_pylist()
    assert words == ["no_person", "failed", "no_person", "no_person", "no_person", "no_person"]
    assert not list((tmp_path / "cache").glob("*.note"))
