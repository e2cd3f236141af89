from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_core.data.images import is_whole, load_images, map_decoded, write_decoded
from reid_core.errors import UserError

SIZE = (6, 4)
COUNT = 9


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    draws = np.random.default_rng(0)
    files = [tmp_path / f"{row}.png" for row in range(COUNT)]
    for file in files:
        Image.fromarray(draws.integers(0, 256, (12, 8, 3), dtype=np.uint8)).save(file)
    return files


def test_parts_written_in_any_order_are_the_pictures(paths: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "pixels.bin"
    write_decoded(file, paths, range(5, COUNT), SIZE, num_threads=2)
    write_decoded(file, paths, range(0, 5), SIZE)
    assert is_whole(file, COUNT, SIZE)
    mapped = map_decoded(file, COUNT, SIZE)
    assert mapped.dtype == torch.uint8
    assert torch.equal(mapped, load_images(paths, SIZE))


def test_more_pictures_than_a_block(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_core.data.images._BLOCK", 2)
    write_decoded(tmp_path / "pixels.bin", paths, range(COUNT), SIZE)
    assert torch.equal(map_decoded(tmp_path / "pixels.bin", COUNT, SIZE), load_images(paths, SIZE))


def test_a_file_cut_short_or_missing_is_not_whole(paths: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "pixels.bin"
    assert not is_whole(file, COUNT, SIZE)
    write_decoded(file, paths, range(0, COUNT - 1), SIZE)
    assert not is_whole(file, COUNT, SIZE)
    write_decoded(file, paths, range(COUNT - 1, COUNT), SIZE)
    assert is_whole(file, COUNT, SIZE)
    assert not is_whole(file, COUNT + 1, SIZE)


def test_writing_to_what_is_mapped_leaves_the_file_alone(paths: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "pixels.bin"
    write_decoded(file, paths, range(COUNT), SIZE)
    before = file.read_bytes()
    map_decoded(file, COUNT, SIZE).zero_()
    assert file.read_bytes() == before


def test_a_picture_that_is_gone_is_one_sentence(paths: list[Path], tmp_path: Path) -> None:
    paths[3].unlink()
    with pytest.raises(UserError, match=r"3\.png was a readable picture"):
        write_decoded(tmp_path / "pixels.bin", paths, range(COUNT), SIZE)
