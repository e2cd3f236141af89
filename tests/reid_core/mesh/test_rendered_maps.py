from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_core.errors import UserError
from reid_core.mesh.guidance import ANGLES, BODY_MINIMUM
from reid_core.mesh.rendered_maps import RenderedMapsSource, find_maps, match_names, read_map


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def picture(shade: int, background: int = 0) -> np.ndarray:
    """An upright bar of one shade, 16 x 8 pixels."""
    pixels = np.full((16, 8), background)
    pixels[2:14, 2:6] = shade
    return pixels


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """Maps of a and b, and all but one of c."""
    for index, angle in enumerate(ANGLES):
        folder = tmp_path / ("render" if angle == 0 else f"render_{angle}")
        for name in ("a", "b", "c"):
            if (name, angle) != ("c", 315):
                save(
                    folder / "bounding_box_train" / f"{name}.{'jpg' if angle == 45 else 'png'}",
                    picture(100 + 10 * index),
                )
    return tmp_path


def test_maps_are_found_by_the_names_of_the_images(rendered: Path) -> None:
    images = [Path(f"/data/bounding_box_train/{name}.jpg") for name in ("b", "c", "d")]
    maps = find_maps(rendered, images)
    assert list(maps) == images[:1]
    assert [path.parent.parent.name for path in maps[images[0]]][:2] == ["render", "render_45"]

    bodies, pixels = RenderedMapsSource(maps)(images, size=(16, 8), num_threads=1)
    assert bodies.status == ("ok", "no_mesh", "no_mesh")
    assert bodies.confidence.tolist() == [1, 0, 0]
    assert pixels.shape == (3, 8, 16, 8)
    assert pixels[0, :, 8, 4].tolist() == [100, pytest.approx(110, abs=3), *range(120, 180, 10)]
    assert not pixels[0, :, 0].any()
    assert not pixels[1:].any()


def test_missing_rotations_are_named(rendered: Path) -> None:
    for name in ("render_315", "render_90"):
        for path in (rendered / name).rglob("*.*"):
            path.unlink()
        (rendered / name / "bounding_box_train").rmdir()
        (rendered / name).rmdir()
    with pytest.raises(UserError, match="render_90, render_315 are missing"):
        find_maps(rendered, [])


def test_a_broken_map_leaves_its_image_out(rendered: Path) -> None:
    image = Path("/data/a.jpg")
    maps = find_maps(rendered, [image])
    maps[image][3].write_bytes(b"no picture")
    bodies, pixels = RenderedMapsSource(maps)([image], size=(16, 8), num_threads=1)
    assert bodies.status == ("unreadable",)
    assert not pixels.any()


@pytest.mark.parametrize("background", [0, 255, 128])
def test_the_background_becomes_zero_whatever_it_was(tmp_path: Path, background: int) -> None:
    pixels = read_map(save(tmp_path / "a.png", picture(200, background)), (16, 8))
    expected = np.zeros((16, 8), dtype=np.uint8)
    expected[2:14, 2:6] = 200
    assert np.array_equal(pixels, expected)


def test_a_dark_body_is_no_background_and_edges_are_no_darker(tmp_path: Path) -> None:
    assert read_map(save(tmp_path / "a.png", picture(20)), (16, 8))[8, 4] == BODY_MINIMUM
    large = np.kron(picture(200), np.ones((4, 4)))
    small = read_map(save(tmp_path / "b.png", large), (15, 7))
    assert set(np.unique(small)) == {0, 200}
    assert torch.from_numpy(small > 0).float().mean() == pytest.approx(12 * 4 / (16 * 8), abs=0.08)


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
