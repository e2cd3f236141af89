from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from reid_core.errors import UserError
from reid_core.mesh.bodies import Bodies
from reid_core.mesh.cache import is_whole, open_mesh_cache, write_part
from reid_core.mesh.camera import Cameras

IDS = ("train-000000", "train-000001", "train-000002")


def bodies(*found: bool) -> Bodies:
    count = len(found)
    fields = Cameras(*(torch.rand(count) for _ in Cameras._fields))
    nan = torch.full((count,), float("nan"))
    status = tuple("ok" if known else "no_mesh" for known in found)
    return Bodies(status, torch.rand(count), torch.rand(count, 6), torch.rand(count, 10, 3), fields, None, nan, nan)


def some_maps(count: int = 3) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 8, 6, 4), generator=random, dtype=torch.uint8)


def test_maps_come_back_as_they_were(tmp_path: Path) -> None:
    maps = some_maps()
    write_part(tmp_path / "part-00000.parquet", IDS[:2], bodies(True, True), maps[:2], digest="d")
    write_part(tmp_path / "part-00001.parquet", IDS[2:], bodies(True), maps[2:], digest="d")
    cache = open_mesh_cache(tmp_path)
    assert len(cache) == 3
    assert torch.equal(cache.guidance([IDS[2], IDS[0]], [315, 0]), maps[[2, 0]][:, [7, 0]])
    assert cache.available(IDS).tolist() == [True, True, True]


def test_images_without_a_body_are_zero_and_say_so(tmp_path: Path) -> None:
    write_part(tmp_path / "part-00000.parquet", IDS, bodies(True, False, True), some_maps(), digest="d")
    cache = open_mesh_cache(tmp_path)
    assert cache.available(IDS).tolist() == [True, False, True]
    assert cache.statuses() == {"ok": 2, "no_mesh": 1}
    assert not cache.guidance([IDS[1]], [0, 90]).any()


def test_photographs_have_no_bodies_at_all(tmp_path: Path) -> None:
    write_part(tmp_path / "part-00000.parquet", IDS, None, some_maps(), digest="d")
    cache = open_mesh_cache(tmp_path)
    assert cache.statuses() == {"no_mesh": 3}
    assert cache.guidance(IDS, [45]).shape == (3, 1, 6, 4)


def test_a_part_is_whole_only_for_the_same_images_and_sources(tmp_path: Path) -> None:
    part = tmp_path / "part-00000.parquet"
    assert not is_whole(part, IDS, "d")
    write_part(part, IDS, None, some_maps(), digest="d")
    assert is_whole(part, IDS, "d")
    assert not is_whole(part, IDS, "another")
    assert not is_whole(part, IDS[:2], "d")
    part.write_bytes(part.read_bytes()[:-20])
    assert not is_whole(part, IDS, "d")
    assert not list(tmp_path.glob("*.tmp"))


def test_nobody_can_read_an_identity_from_it(tmp_path: Path) -> None:
    write_part(tmp_path / "part-00000.parquet", IDS, bodies(True, True, True), some_maps(), digest="d")
    columns = pq.read_table(tmp_path / "part-00000.parquet").column_names
    assert not [name for name in columns if "person" in name or "path" in name]


def test_missing_and_broken_caches_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the mesh stage again"):
        open_mesh_cache(tmp_path)
    (tmp_path / "part-00000.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        open_mesh_cache(tmp_path)
