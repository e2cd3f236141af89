from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reid_core.mesh.body import no_bodies
from reid_core.mesh.cache import open_mesh_cache, write_shard
from reid_core.mesh.sheet import GAP, contact_sheet, guidance_sheet, save_sheet
from tests.reid_core.mesh.some_bodies import INFO, some_bodies, some_maps


def test_one_row_by_hand() -> None:
    images = torch.full((1, 3, 128, 4), 100, dtype=torch.uint8)
    maps = torch.zeros(1, 3, 128, 4, dtype=torch.uint8)
    maps[0, 0, 5, 2] = 200
    maps[0, 1] = 7
    sheet = guidance_sheet(images, maps)
    cell = 4 + 2 * GAP
    assert sheet.shape == (3, 128 + 2 * GAP, 4 * cell)  # photograph, overlay, two turns
    assert sheet[:, GAP + 5, GAP + 2].tolist() == [100, 100, 100]
    assert sheet[:, GAP + 5, cell + GAP + 2].tolist() == [50, 150, 50]
    assert sheet[:, GAP + 5, cell + GAP + 1].tolist() == [100, 100, 100]
    assert sheet[:, GAP + 5, 2 * cell + GAP].tolist() == [7, 7, 7]


def test_small_photographs_are_enlarged_and_rows_stacked() -> None:
    sheet = guidance_sheet(torch.zeros(2, 3, 64, 32, dtype=torch.uint8), torch.zeros(2, 8, 64, 32, dtype=torch.uint8))
    assert sheet.shape == (3, 2 * (128 + 2 * GAP), 9 * (64 + 2 * GAP))


FACTOR = 22  # 6 pixels of height are enlarged to at least 128
ROW, CELL = 6 * FACTOR + 2 * GAP, 4 * FACTOR + 2 * GAP


def test_rows_show_images_with_a_mesh_and_grey_where_the_file_is_gone(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "part-00000.parquet", ["a", "b", "c"], some_bodies("ok", "no_person", "ok"), some_maps(), INFO
    )
    Image.new("RGB", (4, 6), (10, 20, 30)).save(tmp_path / "a.png")
    files = {"a": tmp_path / "a.png", "c": tmp_path / "gone.png"}
    sheet = contact_sheet(open_mesh_cache(tmp_path), files, count=5)
    assert sheet is not None
    assert sheet.shape == (3, 2 * ROW, 10 * CELL)  # photograph, mask, mesh over photograph, seven turns
    assert sheet[:, ROW // 2, CELL // 2].tolist() == [10, 20, 30]
    assert sheet[:, ROW + ROW // 2, CELL // 2].tolist() == [230, 230, 230]
    save_sheet(sheet, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as saved:
        assert np.array_equal(np.asarray(saved), sheet.permute(1, 2, 0).numpy())


def test_no_masks_no_column_and_no_more_rows_than_asked(tmp_path: Path) -> None:
    bodies = replace(some_bodies("ok", "ok", "ok"), masks=None)
    write_shard(tmp_path / "part-00000.parquet", ["a", "b", "c"], bodies, some_maps(), INFO)
    sheet = contact_sheet(open_mesh_cache(tmp_path), {}, count=2)
    assert sheet is not None
    assert sheet.shape == (3, 2 * ROW, 9 * CELL)


def test_no_mesh_no_sheet(tmp_path: Path) -> None:
    write_shard(tmp_path / "part-00000.parquet", ["a", "b", "c"], no_bodies(["no_person"] * 3), some_maps(), INFO)
    assert contact_sheet(open_mesh_cache(tmp_path), {}, count=2) is None
