import numpy as np

from reid_core.data.synthetic.scene import CANVAS, clouds, crop, occlude, scene


def test_scenes_are_drawn_again_alike_and_differ() -> None:
    one = scene(0, 1, 2, 32, 16).copy()
    scene.cache_clear()
    np.testing.assert_array_equal(one, scene(0, 1, 2, 32, 16))
    assert one.shape == (CANVAS * 32, CANVAS * 16, 3)
    assert float(one.min()) >= 0.0
    assert float(one.max()) <= 1.0
    assert np.abs(one - scene(0, 1, 3, 32, 16)).mean() > 0.02


def test_crops_have_the_size_asked_for_and_leave_the_scene_alone() -> None:
    canvas = scene(0, 0, 0, 32, 16)
    before = canvas.copy()
    for seed in range(20):
        part = crop(canvas, 32, 16, np.random.default_rng(seed))
        assert part.shape == (32, 16, 3)
        part[:] = 0
    np.testing.assert_array_equal(canvas, before)


def test_occluders_hide_a_part_and_not_all() -> None:
    shares = []
    for seed in range(30):
        picture = np.full((64, 32, 3), -1.0)
        occlude(picture, np.random.default_rng(seed))
        shares.append(float((picture[..., 0] >= 0).mean()))
    assert 0.0 < float(np.mean(shares)) < 0.4
    assert max(shares) < 0.7


def test_clouds_are_smooth_noise_in_range() -> None:
    noise = clouds(np.random.default_rng(0), (60, 30), cells=4)
    assert noise.shape == (60, 30)
    assert float(noise.min()) >= 0.0
    assert float(noise.max()) <= 1.0
    assert float(np.abs(np.diff(noise, axis=0)).max()) < 0.2
