import pytest
import torch

from reid_core.evaluation.plots.generated import generator_grid, sheet
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from reid_core.seeds import initialised


def _networks() -> tuple[Generator, IdentityEncoder]:
    return (
        initialised(lambda: Generator(8, part_dim=512, num_blocks=1, norm="none"), 0).eval(),
        initialised(lambda: IdentityEncoder("resnet10"), 0).eval(),
    )


def test_cells_stand_where_they_belong() -> None:
    # Two columns, two rows of one colour each, enlarged four times from 32 to 128 pixels, below a heading.
    colours = torch.tensor([[-1.0, 1.0], [0.0, 0.5]])  # (row, column)
    columns = [colours[:, column].view(2, 1, 1, 1).expand(2, 3, 32, 16) for column in range(2)]
    picture = sheet(columns, ["left", "right"])
    assert picture.size == (2 * (16 * 4 + 2), 14 + 2 * (32 * 4 + 2))
    assert picture.getpixel((30, 14 + 60)) == (0, 0, 0)
    assert picture.getpixel((66 + 30, 14 + 60)) == (255, 255, 255)
    assert picture.getpixel((30, 14 + 130 + 60)) == (128, 128, 128)
    assert picture.getpixel((66 + 30, 14 + 130 + 60)) == (191, 191, 191)


def test_one_column_for_every_picture_of_a_person(generator: torch.Generator) -> None:
    network, encoder = _networks()
    images = torch.rand(2, 3, 64, 32, generator=generator) * 2 - 1
    guidance = torch.rand(2, 8, 64, 32, generator=generator) * 2 - 1
    picture = generator_grid(network, encoder, images, guidance, [0, 45, 90, 135, 180, 225, 270, 315])
    assert picture.size == (11 * (32 * 2 + 2), 14 + 2 * (64 * 2 + 2))  # input, mesh, same, seven, back


def test_a_column_without_a_name_is_refused() -> None:
    with pytest.raises(AssertionError):
        sheet([torch.zeros(1, 3, 8, 8)], [])
