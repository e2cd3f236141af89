import numpy as np
import pytest
import torch

from reid_core.evaluation.plots.generated import mixing_sheet
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from reid_core.seeds import initialised


@pytest.fixture(scope="module")
def networks() -> tuple[Generator, IdentityEncoder]:
    return (
        initialised(lambda: Generator(8, part_dim=512, num_blocks=1, norm="none"), 0).eval(),
        initialised(lambda: IdentityEncoder("resnet10"), 0).eval(),
    )


def _cell(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the pixels of one image of a sheet of 64 x 32 images, enlarged twice."""
    row_height, width = 128 + 8 + 14 + 16, 64 + 8
    top, left = 4 + row * row_height + 16 + 3, 4 + column * width + 3
    return sheet[top : top + 128, left : left + 64]


def test_three_rows_a_pair_with_the_people_at_the_ends(
    networks: tuple[Generator, IdentityEncoder], generator: torch.Generator
) -> None:
    images = (torch.rand(4, 3, 1, 1, generator=generator) * 2 - 1).expand(4, 3, 64, 32)
    guidance = torch.rand(4, 1, 64, 32, generator=generator) * 2 - 1
    picture = mixing_sheet(*networks, images, guidance, num_ratios=3)
    assert picture.size == (5 * 72 + 4, 6 * 166 + 4)
    sheet = np.asarray(picture).astype(int)
    for row in range(3):
        first, second = (((images[i, :, 0, 0] + 1) * 127.5).round().int().numpy() for i in (0, 1))
        assert np.abs(_cell(sheet, row, 0) - first).max() <= 1
        assert np.abs(_cell(sheet, row, 4) - second).max() <= 1
    # Plain mixup is the mean of the pixels half way, and the people themselves at both ends.
    np.testing.assert_array_equal(_cell(sheet, 2, 1), _cell(sheet, 2, 0))
    np.testing.assert_array_equal(_cell(sheet, 2, 3), _cell(sheet, 2, 4))
    assert np.abs(_cell(sheet, 2, 2) - (first + second) / 2).max() <= 1
    # All of person i: D-mixup and F-mixup are both the reconstruction.
    np.testing.assert_array_equal(_cell(sheet, 0, 1), _cell(sheet, 1, 1))
    assert (_cell(sheet, 0, 3) != _cell(sheet, 1, 3)).any(), "at the other end the body differs"


def test_one_person_alone_is_refused(networks: tuple[Generator, IdentityEncoder]) -> None:
    with pytest.raises(AssertionError):
        mixing_sheet(*networks, torch.zeros(3, 3, 64, 32), torch.zeros(3, 1, 64, 32))
