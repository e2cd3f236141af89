import torch

from reid_core.models.discriminator import Discriminator
from reid_core.seeds import initialised


def _discriminator() -> Discriminator:
    return initialised(lambda: Discriminator(4), 0)


def test_three_scales_of_any_size(generator: torch.Generator) -> None:
    for height, width in ((64, 32), (128, 64)):
        scores = _discriminator()(torch.rand(2, 3, height, width, generator=generator))
        assert [tuple(score.shape) for score in scores] == [
            (2, 1, height // (8 * scale), width // (8 * scale)) for scale in (1, 2, 4)
        ]


def test_scores_are_local(generator: torch.Generator) -> None:
    # The first score map sees 22 pixels around each position: the lowest corner cannot change the highest score.
    network = _discriminator()
    image = torch.rand(1, 3, 64, 32, generator=generator)
    changed = image.clone()
    changed[:, :, -1, -1] += 5
    before, after = network(image)[0], network(changed)[0]
    assert float(before[0, 0, 0, 0]) == float(after[0, 0, 0, 0])
    assert float(before[0, 0, -1, -1]) != float(after[0, 0, -1, -1])


def test_images_do_not_influence_each_other(generator: torch.Generator) -> None:
    network = _discriminator()
    images = torch.rand(3, 3, 64, 32, generator=generator)
    for together, alone in zip(network(images), network(images[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone)


def test_a_thumbnail_has_fewer_scales(generator: torch.Generator) -> None:
    scores = _discriminator()(torch.rand(1, 3, 32, 16, generator=generator))
    assert [tuple(score.shape[2:]) for score in scores] == [(4, 2), (2, 1)]
