import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reid_core.errors import UserError
from reid_core.mesh.cache import PICTURES, SCHEMA, CacheInfo, OtherVersionError, is_whole, open_mesh_cache, write_shard
from tests.reid_core.mesh.some_bodies import INFO, some_bodies, some_maps

IDS = ("train-000000", "train-000001", "train-000002")
ANGLES = range(0, 360, 45)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards: two images and one."""
    bodies, maps = some_bodies("ok", "no_person", "ok"), some_maps()
    assert bodies.masks is not None
    first = replace(some_bodies("ok", "no_person"), masks=bodies.masks[:2])
    last = replace(some_bodies("ok"), masks=bodies.masks[2:])
    write_shard(tmp_path / "part-00000.parquet", IDS[:2], first, maps[:2], INFO)
    write_shard(tmp_path / "part-00001.parquet", IDS[2:], last, maps[2:], INFO)
    return tmp_path


def noise(folder: Path, count: int, height: int, width: int) -> tuple[list[str], torch.Tensor]:
    """Write one shard of maps that do not compress; returns names and maps."""
    maps = torch.randint(0, 256, (count, 8, height, width), dtype=torch.uint8)
    names = [f"train-{number:06d}" for number in range(count)]
    info = replace(INFO, height=height, width=width)
    write_shard(folder / "part-00000.parquet", names, replace(some_bodies(*["ok"] * count), masks=None), maps, info)
    return names, maps


def test_maps_come_back_as_they_were(folder: Path) -> None:
    cache, maps = open_mesh_cache(folder), some_maps()
    assert len(cache) == 3
    assert cache.info == INFO
    assert cache.image_ids == IDS
    assert torch.equal(cache.guidance([IDS[2], IDS[0]], [315, 0]), maps[[2, 0]][:, [7, 0]])
    assert cache.num_bytes == sum(path.stat().st_size for path in folder.iterdir())
    masks = some_bodies("ok", "no_person", "ok").masks
    assert masks is not None
    assert torch.equal(cache.masks(IDS[::-1]), masks.flip(0))


def test_every_image_may_have_angles_of_its_own(folder: Path) -> None:
    cache, maps = open_mesh_cache(folder), some_maps()
    pairs = cache.guidance([IDS[2], IDS[0]], [[0, 90], [0, 0]])
    assert torch.equal(pairs, torch.stack([maps[2, [0, 2]], maps[0, [0, 0]]]))


def test_images_of_every_row_group_are_found(tmp_path: Path) -> None:
    names, maps = noise(tmp_path, 11, 6, 4)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0)).tolist()
    cache = open_mesh_cache(tmp_path)
    assert torch.equal(cache.guidance([names[row] for row in order], ANGLES), maps[order])
    assert not cache.masks(names).any()


def test_images_without_a_body_are_zero_and_say_so(folder: Path) -> None:
    cache = open_mesh_cache(folder)
    assert cache.available(IDS).tolist() == [True, False, True]
    assert cache.statuses() == {"ok": 2, "no_person": 1}
    assert not cache.guidance([IDS[1]], [0, 90]).any()


def test_numbers_and_parameters(folder: Path) -> None:
    cache = open_mesh_cache(folder)
    np.testing.assert_allclose(cache.column("confidence")[:2], some_bodies("ok", "no_person").confidence.numpy())
    assert bool(np.isnan(cache.column("reprojection")).all())
    assert cache.table()["phenotype"].null_count == 1


def test_another_process_opens_the_same_files(folder: Path) -> None:
    cache = pickle.loads(pickle.dumps(open_mesh_cache(folder)))
    assert torch.equal(cache.guidance([IDS[2]], [90]), some_maps()[2:, [2]])


def test_threads_read_at_once(tmp_path: Path) -> None:
    names, maps = noise(tmp_path, 16, 32, 16)
    cache = open_mesh_cache(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda name: cache.guidance([name], ANGLES)[0], names * 20))
    assert torch.equal(torch.stack(found), maps.repeat(20, 1, 1, 1))


def test_an_image_that_is_not_in_it(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'train-000009'.*run the mesh stage again"):
        open_mesh_cache(folder).available(["train-000009"])


def test_other_images_of_the_same_names(folder: Path) -> None:
    open_mesh_cache(folder, manifest="m")
    with pytest.raises(UserError, match=r"made for other images \(manifest m, wanted n\)"):
        open_mesh_cache(folder, manifest="n")


def test_missing_cut_and_foreign_shards_are_explained(folder: Path) -> None:
    with pytest.raises(UserError, match="has no shard; run the mesh stage again"):
        open_mesh_cache(folder / "nowhere")
    last = folder / "part-00001.parquet"
    whole = last.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no parquet", whole[:4] + whole[20:]):
        last.write_bytes(content)
        with pytest.raises(UserError, match=r"part-00001.parquet is no whole shard of a mesh cache.*again"):
            open_mesh_cache(folder)
    write_shard(last, IDS[2:], some_bodies("ok"), some_maps(1), replace(INFO, digest="other"))
    with pytest.raises(UserError, match=r"part-00001.parquet belongs to another mesh cache than part-00000"):
        open_mesh_cache(folder)
    write_shard(last, IDS[2:], some_bodies("ok"), some_maps(1), replace(INFO, version=2))
    with pytest.raises(UserError, match=r"another format of the mesh cache \(version 2, wanted 3\)"):
        open_mesh_cache(folder)


def test_another_version_names_itself() -> None:
    with pytest.raises(OtherVersionError) as caught:
        CacheInfo.from_metadata(replace(INFO, version=1).to_metadata())
    assert caught.value.version == 1
    with pytest.raises(KeyError):
        CacheInfo.from_metadata(None)


@pytest.mark.parametrize("angle", [0, 180])
def test_a_picture_that_was_overwritten_is_explained(tmp_path: Path, angle: int) -> None:
    names, maps = noise(tmp_path, 4, 32, 16)
    path = tmp_path / "part-00000.parquet"
    content = bytearray(path.read_bytes())
    # Noise is stored as it is, so the middle of the map stands somewhere in the file.
    place = bytes(content).index(maps[2, angle // 45, 10].numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    cache = open_mesh_cache(tmp_path)
    assert torch.equal(cache.guidance(names, [45]), maps[:, [1]])
    with pytest.raises(UserError, match=r"is damaged \(shard 0, image train-000002: .*run the mesh stage again"):
        cache.guidance(names[2:], [angle])
    assert not is_whole(path, names, INFO.digest)


def test_any_parquet_reader_sees_the_same(tmp_path: Path) -> None:
    bodies, maps = some_bodies("ok", "low_confidence"), some_maps(2)
    write_shard(tmp_path / "a.parquet", IDS[:2], bodies, maps, INFO)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.remove_metadata() == SCHEMA
    assert table["status"].to_pylist() == ["ok", "low_confidence"]
    assert table["guidance_045"].to_pylist() == [maps[0, 1].numpy().tobytes(), None]
    assert table["phenotype"].to_pylist()[1] is None
    torch.testing.assert_close(torch.tensor(table["camera"][0].as_py())[0], bodies.cameras.azimuth_deg[0])
    assert set(PICTURES) <= set(table.column_names)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / name / "part.parquet", IDS, some_bodies("ok", "ok", "failed"), some_maps(), INFO)
    assert (tmp_path / "a/part.parquet").read_bytes() == (tmp_path / "b/part.parquet").read_bytes()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_shard_is_whole_only_for_the_same_images_and_sources(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.parquet"
    assert not is_whole(path, IDS, "d")
    write_shard(path, IDS, some_bodies("ok", "ok", "ok"), some_maps(), INFO)
    assert is_whole(path, IDS, "d")
    assert not is_whole(path, IDS, "another")
    assert not is_whole(path, IDS[:2], "d")
    content = path.read_bytes()
    for length in (0, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert not is_whole(path, IDS, "d")


def test_nobody_can_read_an_identity_from_it() -> None:
    assert not [field.name for field in SCHEMA if "person" in field.name or "path" in field.name]


def test_an_open_cache_holds_no_copy_of_the_pictures(tmp_path: Path) -> None:
    names, _ = noise(tmp_path, 8, 200, 100)
    before = pa.total_allocated_bytes()
    cache = open_mesh_cache(tmp_path)
    cache.guidance(names, ANGLES)
    assert cache.num_bytes > 1_000_000
    assert pa.total_allocated_bytes() - before < 50_000


def _copied_and_mapped(folder: Path, names: list[str], results: "multiprocessing.Queue[tuple[int, int]]") -> None:
    """Read every map, and tell how the mapped files count: bytes that are copies of this process, and all."""
    cache = open_mesh_cache(folder)
    for name in names:
        cache.guidance([name], ANGLES)
    copied = resident = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        fields = line.split()
        if not fields[0].endswith(":"):
            inside = fields[-1].endswith(".parquet")
        elif inside and fields[0] in ("Anonymous:", "Rss:"):
            copied += int(fields[1]) * 1024 if fields[0] == "Anonymous:" else 0
            resident += int(fields[1]) * 1024 if fields[0] == "Rss:" else 0
    results.put((copied, resident))


def test_processes_share_the_maps(tmp_path: Path) -> None:
    names, _ = noise(tmp_path, 4, 256, 128)
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    processes = [context.Process(target=_copied_and_mapped, args=(tmp_path, names, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    for copied, resident in found:
        assert copied == 0, "the pages are those of the system's file cache"
        assert resident > 1_000_000, "and yet every map was read"
