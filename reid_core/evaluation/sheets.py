"""Contact sheets: many small images in rows on one picture, with frames and words.

Drawn with Pillow: torchvision's ``make_grid`` knows neither rows of unequal length nor text, and matplotlib resamples
pixels and takes a second a sheet.

H x W: image size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_GAP = 4  # pixels between images
_TEXT = 12  # height of a line of text, pixels
_PAPER = (255, 255, 255)
_INK = (40, 40, 40)
_MIN_HEIGHT = 96  # smaller images are enlarged, pixel by pixel, so that text fits beside them


class Cell(NamedTuple):
    """One image of a sheet.

    Attributes:
        image: RGB bytes, (3, H, W).
        text: A word or two under the image, or empty.
        frame: Colour of the frame, or None for no frame.
    """

    image: Tensor
    text: str = ""
    frame: tuple[int, int, int] | None = None


def draw_sheet(
    rows: Sequence[Sequence[Cell]], titles: Sequence[str] | None = None, headings: Sequence[str] = ()
) -> Image.Image:
    """Draw rows of images, each under its title.

    Args:
        rows: Images of one size; rows may differ in length.
        titles: One line of text a row, or None.
        headings: A word above each column, or none.

    Returns:
        The picture.
    """
    assert rows, "a sheet needs at least one row"
    assert all(rows), "a sheet needs at least one image in every row"
    assert titles is None or len(titles) == len(rows), (titles, len(rows))
    height, width = rows[0][0].image.shape[1:]
    scale = max(1, -(-_MIN_HEIGHT // height))
    height, width = height * scale, width * scale
    has_text = any(cell.text for row in rows for cell in row)
    cell_height = height + 2 * _GAP + (_TEXT + 2 if has_text else 0)
    row_height = cell_height + (_TEXT + 4 if titles else 0)
    num_columns = max(len(row) for row in rows)
    first_top = _GAP + (_TEXT + 4 if headings else 0)
    sheet = Image.new("RGB", (num_columns * (width + 2 * _GAP) + _GAP, first_top + len(rows) * row_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT - 1)
    for column, heading in enumerate(headings):
        draw.text((_GAP + column * (width + 2 * _GAP) + 3, _GAP), heading, fill=_INK, font=font)
    for index, row in enumerate(rows):
        top = first_top + index * row_height
        if titles:
            draw.text((_GAP, top), titles[index], fill=_INK, font=font)
            top += _TEXT + 4
        for column, cell in enumerate(row):
            left = _GAP + column * (width + 2 * _GAP)
            if cell.frame:
                draw.rectangle((left, top, left + width + 5, top + height + 5), fill=cell.frame)
            sheet.paste(_picture(cell.image, (width, height)), (left + 3, top + 3))
            if cell.text:
                draw.text((left + 3, top + height + 6), cell.text, fill=cell.frame or _INK, font=font)
    return sheet


def _picture(image: Tensor, size: tuple[int, int]) -> Image.Image:
    assert image.dtype == torch.uint8, image.dtype
    array = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array).resize(size, Image.Resampling.NEAREST)
