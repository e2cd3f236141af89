import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.losses.camera import across_camera_contrast, within_camera_cross_entropy

CLUSTER = torch.tensor([0, 0, 1, 1, 2])
CAMERA = torch.tensor([0, 1, 0, 2, 1])


def _draw(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    query = F.normalize(torch.randn(4, 6, generator=generator), dim=1)
    proxies = F.normalize(torch.randn(5, 6, generator=generator), dim=1)
    return query, proxies, torch.tensor([0, 1, 3, 4])


def test_within_a_camera_by_hand() -> None:
    # Two proxies of the camera, similarities 1 and 0, a third one of another camera: log(e^2 + e^0) - 2 at t = 0.5.
    proxies = torch.eye(3)
    loss = within_camera_cross_entropy(
        proxies[:1], proxies, torch.tensor([0, 0, 1]), torch.tensor([0]), temperature=0.5
    )
    torch.testing.assert_close(loss, torch.tensor([math.log(math.exp(2) + 1) - 2]))


def test_across_cameras_by_hand() -> None:
    # The query stands on its own proxy; the positive of the other camera and the only negative are both orthogonal:
    # log(e^0 + e^0) - 0 = log 2.
    proxies = torch.eye(3)
    loss = across_camera_contrast(
        proxies[:1], proxies, torch.tensor([0, 0, 1]), torch.tensor([0]), temperature=0.5, num_negatives=5
    )
    torch.testing.assert_close(loss, torch.tensor([math.log(2)]))


def test_within_a_camera_matches_a_slow_loop(generator: torch.Generator) -> None:
    query, proxies, own = _draw(generator)
    loss = within_camera_cross_entropy(query, proxies, CAMERA, own, temperature=0.1)
    for i in range(4):
        there = [j for j in range(5) if CAMERA[j] == CAMERA[own[i]]]
        exponentials = {j: math.exp(float(query[i] @ proxies[j]) / 0.1) for j in there}
        assert float(loss[i]) == pytest.approx(
            -math.log(exponentials[int(own[i])] / sum(exponentials.values())), abs=1e-4
        )


@pytest.mark.parametrize("num_negatives", [2, 50])
def test_across_cameras_matches_a_slow_loop(generator: torch.Generator, num_negatives: int) -> None:
    query, proxies, own = _draw(generator)
    loss = across_camera_contrast(query, proxies, CLUSTER, own, temperature=0.1, num_negatives=num_negatives)
    for i in range(4):
        similar = [math.exp(float(query[i] @ proxies[j]) / 0.1) for j in range(5)]
        cluster = CLUSTER[own[i]]
        positives = [j for j in range(5) if CLUSTER[j] == cluster and j != own[i]]
        negatives = sorted((similar[j] for j in range(5) if CLUSTER[j] != cluster), reverse=True)[:num_negatives]
        terms = [-math.log(similar[j] / (similar[j] + sum(negatives))) for j in positives]
        assert float(loss[i]) == pytest.approx(sum(terms) / len(terms) if terms else 0.0, abs=1e-4)


def test_a_cluster_of_one_camera_asks_for_nothing_across(generator: torch.Generator) -> None:
    query, proxies, own = _draw(generator)
    query.requires_grad_()
    loss = across_camera_contrast(query, proxies, CLUSTER, own, temperature=0.1, num_negatives=50)
    assert float(loss[3].detach()) == 0.0  # cluster 2 was seen by camera 1 alone
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None
    assert bool(query.grad.isfinite().all())
    assert float(query.grad[3].abs().sum()) == 0.0
    assert float(query.grad[0].abs().sum()) > 0.0


def test_one_cluster_alone_has_a_finite_gradient() -> None:
    query = torch.eye(2, requires_grad=True)
    loss = across_camera_contrast(
        query, torch.eye(2), torch.tensor([0, 0]), torch.tensor([0, 1]), temperature=0.1, num_negatives=5
    )
    loss.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss.detach(), torch.zeros(2))
    assert query.grad is not None
    assert bool(query.grad.isfinite().all())


def test_another_camera_s_clusters_do_not_matter_within(generator: torch.Generator) -> None:
    query, proxies, own = _draw(generator)
    moved = proxies.clone()
    moved[3] = -moved[3]  # camera 2
    before, after = (within_camera_cross_entropy(query, p, CAMERA, own, temperature=0.1) for p in (proxies, moved))
    torch.testing.assert_close(before[:2], after[:2])


def test_a_temperature_of_zero_is_refused(generator: torch.Generator) -> None:
    query, proxies, own = _draw(generator)
    with pytest.raises(AssertionError):
        within_camera_cross_entropy(query, proxies, CAMERA, own, temperature=0.0)
    with pytest.raises(AssertionError):
        across_camera_contrast(query, proxies, CLUSTER, own, temperature=0.0, num_negatives=1)
