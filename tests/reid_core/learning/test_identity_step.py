import torch
import torch.nn.functional as F

from reid_core.learning.identity_step import identity_step
from reid_core.learning.prototypes import MomentumPrototypes
from tests.reid_core.learning.networks import small_networks


def test_a_few_steps_tell_two_colours_apart(generator: torch.Generator) -> None:
    encoder = small_networks().encoder.train()
    optimiser = torch.optim.Adam([p for p in encoder.parameters() if p.requires_grad], lr=1e-3)
    colours = torch.tensor([[-0.8, 0.5, 0.0], [0.8, -0.5, 0.2]])
    labels = torch.arange(8) % 2
    images = colours[labels][:, :, None, None] + 0.1 * torch.randn(8, 3, 32, 16, generator=generator)
    rows = F.normalize(torch.randn(2, 512, generator=generator), dim=1)
    prototypes = MomentumPrototypes(rows)
    losses = [
        float(identity_step(encoder, optimiser, prototypes, images, labels, temperature=0.05)["cluster_contrast"])
        for _ in range(8)
    ]
    assert losses[-1] < 0.2 * losses[0]
    assert not torch.equal(prototypes.rows, rows)
    torch.testing.assert_close(prototypes.rows.norm(dim=1), torch.ones(2))
