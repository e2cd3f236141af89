import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reid_core.mesh.shard import (
    PICTURES,
    SCHEMA,
    OtherVersionError,
    is_whole,
    open_part,
    read_info,
    read_picture,
    write_part,
)
from tests.reid_core.mesh.some_bodies import INFO, some_bodies, some_maps

IDS = ("train-000000", "train-000001", "train-000002")


def test_pictures_lie_where_they_are_looked_for(tmp_path: Path) -> None:
    bodies, maps = some_bodies("ok", "no_person", "ok"), some_maps()
    write_part(tmp_path / "part-00000.parquet", IDS, bodies, maps, INFO)
    part = open_part(tmp_path / "part-00000.parquet")
    assert part.info == INFO
    assert bodies.masks is not None
    for row in range(3):
        mask = read_picture(part, row, 0)
        assert mask is not None
        assert np.array_equal(mask, bodies.masks[row].numpy())
    for row in (0, 2):
        for angle in range(8):
            picture = read_picture(part, row, 1 + angle)
            assert picture is not None
            assert np.array_equal(picture, maps[row, angle].numpy())
    assert read_picture(part, 1, 3) is None


def test_any_parquet_reader_sees_the_same(tmp_path: Path) -> None:
    bodies, maps = some_bodies("ok", "low_confidence"), some_maps(2)
    write_part(tmp_path / "a.parquet", IDS[:2], bodies, maps, INFO)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.remove_metadata() == SCHEMA
    assert table["status"].to_pylist() == ["ok", "low_confidence"]
    raw = zlib.decompress(table["guidance_045"][0].as_py())
    assert raw == maps[0, 1].numpy().tobytes()
    assert table["phenotype"].to_pylist()[1] is None
    torch.testing.assert_close(torch.tensor(table["camera"][0].as_py())[0], bodies.cameras.azimuth_deg[0])
    assert set(PICTURES) <= set(table.column_names)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_part(tmp_path / name / "part.parquet", IDS, some_bodies("ok", "ok", "failed"), some_maps(), INFO)
    assert (tmp_path / "a/part.parquet").read_bytes() == (tmp_path / "b/part.parquet").read_bytes()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_part_is_whole_only_for_the_same_images_and_sources(tmp_path: Path) -> None:
    part = tmp_path / "part-00000.parquet"
    assert not is_whole(part, IDS, "d")
    write_part(part, IDS, some_bodies("ok", "ok", "ok"), some_maps(), INFO)
    assert is_whole(part, IDS, "d")
    assert not is_whole(part, IDS, "another")
    assert not is_whole(part, IDS[:2], "d")
    content = part.read_bytes()
    for length in (0, len(content) // 2, len(content) - 1):
        part.write_bytes(content[:length])
        assert not is_whole(part, IDS, "d")


def test_nobody_can_read_an_identity_from_it() -> None:
    assert not [field.name for field in SCHEMA if "person" in field.name or "path" in field.name]


def test_another_version_names_itself() -> None:
    with pytest.raises(OtherVersionError) as caught:
        read_info(replace(INFO, version=1).metadata())
    assert caught.value.version == 1
    with pytest.raises(KeyError):
        read_info(None)


def test_damage_between_the_pictures_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_part(path, IDS, some_bodies("ok", "ok", "ok"), some_maps(), INFO)
    start = int(open_part(path).starts[1, 2])
    content = bytearray(path.read_bytes())
    content[start - 4] ^= 1
    content[start + 5] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="should begin"):
        read_picture(open_part(path), 1, 2)
    content[start - 4] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(zlib.error):
        read_picture(open_part(path), 1, 2)


def test_an_open_part_holds_no_copy_of_the_pictures(tmp_path: Path) -> None:
    maps = torch.randint(0, 256, (8, 8, 200, 100), dtype=torch.uint8)  # noise: does not compress
    bodies = replace(some_bodies(*["ok"] * 8), masks=None)
    names = [f"train-{number:06d}" for number in range(8)]
    write_part(tmp_path / "a.parquet", names, bodies, maps, replace(INFO, height=200, width=100))
    before = pa.total_allocated_bytes()
    part = open_part(tmp_path / "a.parquet")
    assert part.content.size > 1_000_000
    assert pa.total_allocated_bytes() - before < 50_000
