import torch

from reid_core.learning.generation import silhouette, swap_background


def test_silhouette_is_what_is_not_background() -> None:
    guidance = torch.tensor([-1.0, -0.5, 0.9]).view(1, 1, 1, 3)
    assert silhouette(guidance).flatten().tolist() == [0.0, 1.0, 1.0]


def test_person_donor_and_fill_by_hand() -> None:
    # Four pixels in a row: person | free of both | donor's person | donor's background.
    generated = torch.full((1, 3, 1, 4), 9.0)
    body = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
    donor = torch.tensor([7.0, 2.0, 5.0, 4.0]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    donor_body = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 1, 1, 4)
    composite = swap_background(generated, body, donor, donor_body)
    # The donor's person is covered by the mean of its background, (2 + 4) / 2.
    assert composite[0, 0, 0].tolist() == [9.0, 2.0, 3.0, 4.0]


def test_gradients_reach_the_person_alone() -> None:
    generated = torch.zeros(1, 3, 1, 2, requires_grad=True)
    body = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    swap_background(generated, body, torch.ones(1, 3, 1, 2), 1 - body).sum().backward()  # type: ignore[no-untyped-call]
    assert generated.grad is not None
    assert generated.grad[0, 0, 0].tolist() == [1.0, 0.0]
