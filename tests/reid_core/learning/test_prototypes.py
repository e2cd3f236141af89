import pytest
import torch
import torch.nn.functional as F

from reid_core.learning.memory import MomentumPrototypes, cluster_means


def test_means_by_hand() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    means = cluster_means(rows, torch.tensor([0, 0, 1, -1]))
    torch.testing.assert_close(means, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))


def test_means_match_a_slow_loop(generator: torch.Generator) -> None:
    rows = F.normalize(torch.randn(20, 5, generator=generator), dim=1)
    labels = torch.arange(20) % 4 - 1
    means = cluster_means(rows, labels)
    for cluster in range(3):
        members = [rows[i] for i in range(20) if labels[i] == cluster]
        torch.testing.assert_close(means[cluster], F.normalize(sum(members, torch.zeros(5)), dim=0))


@pytest.mark.parametrize(("update_by", "target"), [("hardest", [0.0, 1.0]), ("mean", [0.5, 0.5])])
def test_update_by_hand(update_by: str, target: list[float]) -> None:
    # Prototype (1, 0); the batch holds (1, 0) and, less similar, (0, 1).
    kind = "hardest" if update_by == "hardest" else "mean"
    prototypes = MomentumPrototypes(torch.eye(2), momentum=0.1, update_by=kind)  # type: ignore[arg-type]
    prototypes.update(torch.eye(2), torch.tensor([0, 0]))
    wanted = F.normalize(0.1 * torch.tensor([1.0, 0.0]) + 0.9 * torch.tensor(target), dim=0)
    torch.testing.assert_close(prototypes.features[0], wanted)
    assert torch.equal(prototypes.features[1], torch.tensor([0.0, 1.0]))
