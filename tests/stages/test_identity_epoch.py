"""What an epoch is contrasted with; whole epochs are run in test_identity.py."""

import torch
import torch.nn.functional as F

from reid_core.learning.identity_step import CameraSettings
from stages.identity import IdentityConfig, new_targets, restored_targets

CPU = torch.device("cpu")
ROWS = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0]]), dim=1)
LABELS = torch.tensor([0, 0, 1, -1])


def test_prototypes_are_the_means_of_the_clusters() -> None:
    targets = new_targets(IdentityConfig(momentum=0.3), ROWS, LABELS, {"num_clusters": 2}, None, CPU)
    torch.testing.assert_close(targets.prototypes.features, torch.full((2, 2), 0.5**0.5))
    assert (targets.prototypes.momentum, targets.prototypes.update_by) == (0.3, "hardest")
    assert targets.cameras is None
    assert targets.proxies is None


def test_each_cluster_and_camera_has_a_proxy() -> None:
    config = IdentityConfig(cameras=CameraSettings(weight=0.5))
    targets = new_targets(config, ROWS, LABELS, {}, torch.tensor([0, 1, 1, 0]), CPU)
    assert targets.cameras is not None
    assert targets.proxies is not None
    torch.testing.assert_close(targets.cameras.proxies.features[targets.proxies[:3]], ROWS[:3])
    assert targets.cameras.proxies.update_by == "mean"


def test_targets_that_were_moved_come_back_as_they_were() -> None:
    config, cameras = IdentityConfig(cameras=CameraSettings(weight=0.5)), torch.tensor([0, 1, 1, 0])
    targets = new_targets(config, ROWS, LABELS, {"num_clusters": 2}, cameras, CPU)
    assert targets.cameras is not None
    targets.prototypes.update(ROWS[1:2], LABELS[1:2])
    targets.cameras.proxies.update(ROWS[2:3], torch.tensor([0]))
    again = restored_targets(config, targets.state(), cameras, CPU)
    assert again.cameras is not None
    assert torch.equal(again.prototypes.features, targets.prototypes.features)
    assert torch.equal(again.cameras.proxies.features, targets.cameras.proxies.features)
    assert again.numbers == {"num_clusters": 2}
