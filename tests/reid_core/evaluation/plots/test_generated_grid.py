import numpy as np
import pytest
import torch

from reid_core.evaluation.plots.generated import columns_sheet, generator_grid
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from reid_core.seeds import initialised


def _networks() -> tuple[Generator, IdentityEncoder]:
    return (
        initialised(lambda: Generator(8, part_dim=512, num_blocks=1, norm="none"), 0).eval(),
        initialised(lambda: IdentityEncoder("resnet10"), 0).eval(),
    )


def test_cells_stand_where_they_belong() -> None:
    # Two columns, two rows of one colour each, enlarged three times from 32 to 96 pixels, below a heading.
    colours = torch.tensor([[-1.0, 1.0], [0.0, 0.5]])  # (row, column)
    columns = [colours[:, column].view(2, 1, 1, 1).expand(2, 3, 32, 16) for column in range(2)]
    picture = columns_sheet(columns, ["left", "right"])
    width, height, top = 16 * 3 + 8, 32 * 3 + 8, 4 + 16
    assert picture.size == (2 * width + 4, top + 2 * height)
    assert picture.getpixel((30, top + 50)) == (0, 0, 0)
    assert picture.getpixel((width + 30, top + 50)) == (255, 255, 255)
    assert picture.getpixel((30, top + height + 50)) == (128, 128, 128)
    assert picture.getpixel((width + 30, top + height + 50)) == (191, 191, 191)
    words = np.asarray(picture.crop((0, 0, picture.width, top)))
    assert words.min() < 100, "the names stand above"


def test_one_column_for_every_picture_of_a_person(generator: torch.Generator) -> None:
    network, encoder = _networks()
    images = torch.rand(2, 3, 64, 32, generator=generator) * 2 - 1
    guidance = torch.rand(2, 8, 64, 32, generator=generator) * 2 - 1
    picture = generator_grid(network, encoder, images, guidance, [0, 45, 90, 135, 180, 225, 270, 315])
    assert picture.size == (11 * (32 * 2 + 8) + 4, 20 + 2 * (64 * 2 + 8))  # input, mesh, same, seven, back


def test_a_column_without_a_name_is_refused() -> None:
    with pytest.raises(AssertionError):
        columns_sheet([torch.zeros(1, 3, 8, 8)], [])
