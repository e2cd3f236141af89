import pytest
import torch
import torch.nn.functional as F

from reid_core.learning.memory import FeatureMemory


def test_update_by_hand() -> None:
    # 0.2 * (1, 0) + 0.8 * (0, 1) = (0.2, 0.8), of length sqrt(0.68).
    memory = FeatureMemory(torch.eye(2), momentum=0.2)
    memory.update(torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(memory.features[0], torch.tensor([0.2, 0.8]) / 0.68**0.5)
    assert torch.equal(memory.features[1], torch.tensor([0.0, 1.0]))


def test_features_are_normalised_and_the_source_is_left_alone(generator: torch.Generator) -> None:
    rows = 3 * torch.randn(5, 4, generator=generator)
    before = rows.clone()
    memory = FeatureMemory(rows)
    memory.update(torch.tensor([1, 3]), F.normalize(torch.randn(2, 4, generator=generator), dim=1))
    torch.testing.assert_close(memory.features.norm(dim=1), torch.ones(5))
    assert torch.equal(rows, before)


def test_no_gradient_enters(generator: torch.Generator) -> None:
    memory = FeatureMemory(torch.eye(3))
    features = F.normalize(torch.randn(1, 3, generator=generator), dim=1).requires_grad_()
    memory.update(torch.tensor([2]), features)
    assert not memory.features.requires_grad


def test_a_memory_that_never_changes_is_refused() -> None:
    with pytest.raises(AssertionError):
        FeatureMemory(torch.eye(2), momentum=1.0)


def test_features_come_back_from_a_checkpoint() -> None:
    memory = FeatureMemory(torch.eye(2))
    memory.update(torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    again = FeatureMemory(torch.ones(2, 2))
    again.load_state_dict(memory.state_dict())
    assert torch.equal(again.features, memory.features)


def test_a_skipped_update_leaves_everything() -> None:
    memory = FeatureMemory(torch.eye(2))
    memory.update(torch.tensor([0]), torch.tensor([[float("nan"), 0.0]]), skip=torch.tensor(True))
    assert torch.equal(memory.features, torch.eye(2))
    memory.update(torch.tensor([0]), torch.tensor([[0.0, 1.0]]), skip=torch.tensor(False))
    assert not torch.equal(memory.features, torch.eye(2))
