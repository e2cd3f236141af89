import multiprocessing
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reid_core.errors import UserError
from reid_core.mesh.cache import open_mesh_cache
from reid_core.mesh.shard import write_part
from tests.reid_core.mesh.some_bodies import INFO, some_bodies, some_maps

IDS = ("train-000000", "train-000001", "train-000002")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts: two images and one."""
    bodies, maps = some_bodies("ok", "no_person", "ok"), some_maps()
    assert bodies.masks is not None
    first = replace(some_bodies("ok", "no_person"), masks=bodies.masks[:2])
    write_part(tmp_path / "part-00000.parquet", IDS[:2], first, maps[:2], INFO)
    write_part(
        tmp_path / "part-00001.parquet", IDS[2:], replace(some_bodies("ok"), masks=bodies.masks[2:]), maps[2:], INFO
    )
    return tmp_path


def test_maps_come_back_as_they_were(folder: Path) -> None:
    cache, maps = open_mesh_cache(folder), some_maps()
    assert len(cache) == 3
    assert cache.image_ids == IDS
    assert torch.equal(cache.guidance([IDS[2], IDS[0]], [315, 0]), maps[[2, 0]][:, [7, 0]])
    assert torch.equal(cache.turned([IDS[2], IDS[0]], [90, 45]), maps[[2, 0], [2, 1]])
    assert cache.num_bytes == sum(path.stat().st_size for path in folder.iterdir())
    masks = some_bodies("ok", "no_person", "ok").masks
    assert masks is not None
    assert torch.equal(cache.masks(IDS[::-1]), masks.flip(0))


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


def test_an_image_that_is_not_in_it(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'train-000009'.*run the mesh stage again"):
        open_mesh_cache(folder).available(["train-000009"])


def test_other_images_of_the_same_names(folder: Path) -> None:
    open_mesh_cache(folder, manifest="m")
    with pytest.raises(UserError, match=r"made for other images \(manifest m, wanted n\)"):
        open_mesh_cache(folder, manifest="n")


def test_missing_cut_and_foreign_parts_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no part; run the mesh stage again"):
        open_mesh_cache(folder / "nowhere")
    last = folder / "part-00001.parquet"
    whole = last.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no parquet", whole[:4] + whole[20:]):
        last.write_bytes(content)
        with pytest.raises(UserError, match=r"part-00001.parquet is no whole part of a mesh cache.*again"):
            open_mesh_cache(folder)
    write_part(last, IDS[2:], some_bodies("ok"), some_maps(1), replace(INFO, digest="other"))
    with pytest.raises(UserError, match=r"part-00001.parquet belongs to another mesh cache than part-00000"):
        open_mesh_cache(folder)
    write_part(last, IDS[2:], some_bodies("ok"), some_maps(1), replace(INFO, version=1))
    with pytest.raises(UserError, match=r"another format of the mesh cache \(version 1, wanted 2\)"):
        open_mesh_cache(folder)


def test_a_picture_that_was_overwritten_is_explained(folder: Path) -> None:
    path = folder / "part-00000.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    shutil.copyfile(path, folder / "copy")
    with pytest.raises(UserError, match="run the mesh stage again"):
        open_mesh_cache(folder).guidance(IDS[:1], range(0, 360, 45))


def _copied_and_mapped(folder: Path, names: list[str], results: "multiprocessing.Queue[tuple[int, int]]") -> None:
    """Read every map, and tell how the mapped files count: bytes that are copies of this process, and all."""
    cache = open_mesh_cache(folder)
    for name in names:
        cache.guidance([name], range(0, 360, 45))
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
    maps = torch.randint(0, 256, (4, 8, 256, 128), dtype=torch.uint8)  # noise: 1 MB that does not compress
    names = [f"train-{number:06d}" for number in range(4)]
    info = replace(INFO, height=256, width=128)
    write_part(tmp_path / "part-00000.parquet", names, replace(some_bodies(*["ok"] * 4), masks=None), maps, info)
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
