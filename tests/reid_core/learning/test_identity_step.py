import torch
import torch.nn.functional as F

from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.identity_step import CameraContrast, CameraSettings, identity_step
from reid_core.learning.memory import MomentumPrototypes, lay_out_proxies
from tests.reid_core.learning.networks import small_networks


def test_a_few_steps_tell_two_colours_apart(generator: torch.Generator) -> None:
    encoder = GeneratedEncoder(small_networks().encoder.train(), 8)
    optimiser = torch.optim.Adam([p for p in encoder.network.parameters() if p.requires_grad], lr=1e-3)
    colours = torch.tensor([[-0.8, 0.5, 0.0], [0.8, -0.5, 0.2]])
    labels = torch.arange(8) % 2
    images = colours[labels][:, :, None, None] + 0.1 * torch.randn(8, 3, 32, 16, generator=generator)
    rows = F.normalize(torch.randn(2, 512, generator=generator), dim=1)
    prototypes = MomentumPrototypes(rows)
    losses = [
        float(identity_step(encoder, optimiser, prototypes, images, labels, temperature=0.05)[0]["cluster_contrast"])
        for _ in range(8)
    ]
    assert losses[-1] < 0.2 * losses[0]
    assert not torch.equal(prototypes.features, rows)
    torch.testing.assert_close(prototypes.features.norm(dim=1), torch.ones(2))


def test_camera_terms_join_and_move_their_own_proxies(generator: torch.Generator) -> None:
    encoder = GeneratedEncoder(small_networks().encoder.train(), 4)
    optimiser = torch.optim.SGD([p for p in encoder.network.parameters() if p.requires_grad], lr=1e-3)
    labels, cameras = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    layout = lay_out_proxies(labels, cameras)
    start = F.normalize(torch.randn(4, 512, generator=generator), dim=1)
    proxies = MomentumPrototypes(start, update_by="mean")
    prototypes = MomentumPrototypes(F.normalize(torch.randn(2, 512, generator=generator), dim=1))
    aware = CameraContrast(proxies, layout, CameraSettings(weight=0.5))
    images = torch.rand(4, 3, 32, 16, generator=generator)
    terms, outcome = identity_step(
        encoder, optimiser, prototypes, images, labels, temperature=0.05, cameras=aware, proxies=layout.of_image
    )
    assert set(terms) == {"cluster_contrast", "within_camera", "across_cameras"}
    assert not bool(outcome.skipped)
    assert not torch.equal(proxies.features, start)


def test_images_that_are_not_numbers_change_nothing(generator: torch.Generator) -> None:
    encoder = GeneratedEncoder(small_networks().encoder.train(), 4)
    optimiser = torch.optim.SGD([p for p in encoder.network.parameters() if p.requires_grad], lr=1e-3)
    prototypes = MomentumPrototypes(F.normalize(torch.randn(2, 512, generator=generator), dim=1))
    before = prototypes.features.clone(), encoder.network.backbone.conv1.weight.detach().clone()
    images = torch.full((4, 3, 32, 16), float("nan"))
    _, outcome = identity_step(encoder, optimiser, prototypes, images, torch.tensor([0, 0, 1, 1]), temperature=0.05)
    assert bool(outcome.skipped)
    assert torch.equal(prototypes.features, before[0])
    assert torch.equal(encoder.network.backbone.conv1.weight, before[1])
