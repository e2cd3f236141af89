from pathlib import Path

import pytest

from reid_core.errors import UserError
from reid_core.mesh.rendered_maps import match_names

ROOT = Path("/data/set")


def test_suffixes_and_folders_do_not_matter() -> None:
    names = ["b.png", "elsewhere/a.jpg", "C:\\other\\c.bmp"]
    images = [ROOT / "train/a.jpg", ROOT / "train/b.jpg", ROOT / "train/c.jpg", ROOT / "train/d.jpg"]
    assert match_names(names, images, where="table") == [1, 0, 2, None]


def test_of_equal_names_the_folders_decide() -> None:
    names = ["query/a.png", "gallery/a.png", "x/query/a.png"]
    images = [ROOT / "gallery/a.jpg", Path("/data/x/query/a.jpg")]
    assert match_names(names, images, where="table") == [1, 2]


def test_names_that_match_twice_are_refused() -> None:
    with pytest.raises(UserError, match=r"2 of its names match /data/set/a.jpg"):
        match_names(["one/a.png", "two/a.png"], [ROOT / "a.jpg"], where="table")
