"""What an epoch is contrasted with; whole epochs are run in test_identity.py."""

import torch
import torch.nn.functional as F

from stages.identity_config import CameraConfig, IdentityConfig
from stages.identity_epoch import kept_teachers, new_teachers

CPU = torch.device("cpu")
ROWS = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0]]), dim=1)
LABELS = torch.tensor([0, 0, 1, -1])


def test_prototypes_are_the_means_of_the_clusters() -> None:
    teachers = new_teachers(IdentityConfig(momentum=0.3), ROWS, LABELS, {"num_clusters": 2}, None, CPU)
    torch.testing.assert_close(teachers.prototypes.rows, torch.full((2, 2), 0.5**0.5))
    assert (teachers.prototypes.momentum, teachers.prototypes.update_by) == (0.3, "hardest")
    assert teachers.cameras is None
    assert teachers.proxies is None


def test_each_cluster_and_camera_has_a_proxy() -> None:
    config = IdentityConfig(cameras=CameraConfig(weight=0.5))
    teachers = new_teachers(config, ROWS, LABELS, {}, torch.tensor([0, 1, 1, 0]), CPU)
    assert teachers.cameras is not None
    assert teachers.proxies is not None
    torch.testing.assert_close(teachers.cameras.proxies.rows[teachers.proxies[:3]], ROWS[:3])
    assert teachers.cameras.proxies.update_by == "mean"


def test_teachers_that_were_moved_come_back_as_they_were() -> None:
    config, cameras = IdentityConfig(cameras=CameraConfig(weight=0.5)), torch.tensor([0, 1, 1, 0])
    teachers = new_teachers(config, ROWS, LABELS, {"num_clusters": 2}, cameras, CPU)
    assert teachers.cameras is not None
    teachers.prototypes.update(ROWS[1:2], LABELS[1:2])
    teachers.cameras.proxies.update(ROWS[2:3], torch.tensor([0]))
    again = kept_teachers(config, teachers.state(), cameras, CPU)
    assert again.cameras is not None
    assert torch.equal(again.prototypes.rows, teachers.prototypes.rows)
    assert torch.equal(again.cameras.proxies.rows, teachers.cameras.proxies.rows)
    assert again.numbers == {"num_clusters": 2}
