import io

import numpy as np
from PIL import Image

from reid_core.data.synthetic.camera import develop, draw_camera, encode


def test_sides_are_spread_evenly() -> None:
    for num_cameras in (2, 4, 6):
        sides = sorted(draw_camera(0, camera, num_cameras).side_deg for camera in range(num_cameras))
        gaps = np.diff([*sides, sides[0] + 360.0])
        np.testing.assert_allclose(gaps, 360.0 / num_cameras)


def test_cameras_differ_and_are_drawn_again_alike() -> None:
    cameras = [draw_camera(0, camera, 4) for camera in range(4)]
    assert len(set(cameras)) == 4
    assert cameras == [draw_camera(0, camera, 4) for camera in range(4)]


def test_a_cast_colours_a_gray_wall() -> None:
    camera = draw_camera(0, 1, 4)
    assert camera.gains[0] > camera.gains[2]  # a warm one
    gray = np.full((64, 32, 3), 0.5, dtype=np.float32)
    picture = np.asarray(develop(gray, camera, np.random.default_rng(0)), dtype=float)
    assert picture.shape == (64, 32, 3)
    assert picture[..., 0].mean() > picture[..., 2].mean()


def test_files_are_jpeg_of_the_same_size() -> None:
    camera = draw_camera(0, 0, 2)
    picture = develop(np.full((40, 20, 3), 0.5, dtype=np.float32), camera, np.random.default_rng(0))
    opened = Image.open(io.BytesIO(encode(picture, camera)))
    assert (opened.format, opened.size) == ("JPEG", (20, 40))
