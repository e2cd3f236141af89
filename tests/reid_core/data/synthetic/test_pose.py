import numpy as np

from reid_core.data.synthetic.person import draw_pose
from reid_core.mesh.body import POSED_BONES


def test_arms_swing_against_legs_and_knees_never_bend_forward() -> None:
    for seed in range(100):
        pose = dict(zip(POSED_BONES, draw_pose(np.random.default_rng(seed)), strict=True))
        assert pose["upperleg01.L"][0] * pose["upperleg01.R"][0] <= 0
        assert pose["upperleg01.L"][0] * pose["upperarm01.L"][0] <= 0
        assert min(pose["lowerleg01.L"][0], pose["lowerleg01.R"][0]) >= 0
