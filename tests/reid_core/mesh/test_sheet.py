import torch

from reid_core.mesh.sheet import GAP, guidance_sheet


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
