import pytest
import torch

from reid_core.evaluation.sheets import Cell, draw_sheet


def _image(red: int) -> torch.Tensor:
    image = torch.zeros(3, 96, 48, dtype=torch.uint8)
    image[0] = red
    return image


def test_images_stand_in_their_rows() -> None:
    sheet = draw_sheet([[Cell(_image(10)), Cell(_image(20))], [Cell(_image(30))]])
    step_x, step_y = 48 + 8, 96 + 8
    assert sheet.getpixel((30, 50)) == (10, 0, 0)
    assert sheet.getpixel((30 + step_x, 50)) == (20, 0, 0)
    assert sheet.getpixel((30, 50 + step_y)) == (30, 0, 0)
    assert sheet.getpixel((30 + step_x, 50 + step_y)) == (255, 255, 255)


def test_frame_title_and_text_leave_the_image_whole() -> None:
    framed = draw_sheet([[Cell(_image(10), "match", (0, 200, 0))]], ["average precision 50 %"])
    colours = {colour for _, colour in framed.getcolors(1 << 20) or []}
    assert {(10, 0, 0), (0, 200, 0)} <= colours
    assert sum(count for count, colour in framed.getcolors(1 << 20) or [] if colour == (10, 0, 0)) == 96 * 48


def test_small_images_are_enlarged_by_whole_pixels() -> None:
    small = torch.zeros(3, 32, 16, dtype=torch.uint8)
    small[0, 0, 0] = 255
    sheet = draw_sheet([[Cell(small)]])
    assert sum(count for count, colour in sheet.getcolors(1 << 20) or [] if colour == (255, 0, 0)) == 9


def test_refuses_empty_rows() -> None:
    with pytest.raises(AssertionError, match="at least one"):
        draw_sheet([])
    with pytest.raises(AssertionError, match="at least one"):
        draw_sheet([[Cell(_image(1))], []])
