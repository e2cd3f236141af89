from typing import Literal

import pytest
import torch

from reid_core.models.generator import Generator, adaptive_instance_norm
from reid_core.models.identity import FeatureMaps
from reid_core.seeds import initialised


def _generator(norm: Literal["none", "instance"] = "none") -> Generator:
    return initialised(lambda: Generator(16, part_dim=12, num_parts=4, num_blocks=1, norm=norm), 0)


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_shapes_and_range(norm: Literal["none", "instance"], generator: torch.Generator) -> None:
    network = _generator(norm)
    guidance = torch.rand(2, 1, 32, 16, generator=generator) * 2 - 1
    parts = 50 * torch.randn(2, 4, 12, generator=generator)
    assert network.structure(guidance).shape == (2, 16, 8, 4)
    painted = network(guidance, parts)
    assert painted.shape == (2, 3, 32, 16)
    assert float(painted.abs().max()) <= 1.1


def test_adaptive_instance_norm_sets_mean_and_deviation(generator: torch.Generator) -> None:
    content = 3 + 5 * torch.randn(2, 3, 16, 8, generator=generator)
    scale, shift = torch.tensor([[1.0, 0.0, -0.5]] * 2), torch.tensor([[0.0, 4.0, -1.0]] * 2)
    changed = adaptive_instance_norm(content, scale, shift)
    torch.testing.assert_close(changed.mean(dim=(2, 3)), shift, atol=1e-5, rtol=0)
    torch.testing.assert_close(changed.std(dim=(2, 3), correction=0), 1 + scale, atol=1e-4, rtol=0)


def test_both_guidance_and_every_part_reach_the_image(generator: torch.Generator) -> None:
    guidance = torch.rand(1, 1, 32, 16, generator=generator, requires_grad=True)
    parts = torch.randn(1, 4, 12, generator=generator, requires_grad=True)
    _generator()(guidance, parts).square().sum().backward()
    assert guidance.grad is not None
    assert parts.grad is not None
    assert bool((parts.grad.abs().sum(dim=2) > 0).all())
    assert float(guidance.grad.abs().sum()) > 0


def test_appearance_is_pooled_from_the_maps_that_were_asked_for() -> None:
    # Rows of a map are constant: stripe p of a map with 2 rows a stripe is the mean of its two rows.
    rows = {channels: torch.arange(8.0).view(1, 1, 8, 1) + 100 * channels for channels in (2, 3, 5)}
    maps = FeatureMaps(*(row.expand(1, channels, 8, 4) for channels, row in rows.items()))
    stripes = torch.tensor([0.5, 2.5, 4.5, 6.5])
    last = Generator(8, part_dim=5, num_blocks=1).appearance(maps)
    torch.testing.assert_close(last, (stripes + 500).view(1, 4, 1).expand(1, 4, 5))
    early = Generator(8, part_dim=5, num_blocks=1, painted_from="early").appearance(maps)
    expected = torch.cat([(stripes + 200).view(4, 1).expand(4, 2), (stripes + 300).view(4, 1).expand(4, 3)], dim=1)
    torch.testing.assert_close(early, expected[None])


def test_calibration_takes_away_what_everyone_has_in_common(generator: torch.Generator) -> None:
    network = _generator()
    guidance = torch.rand(3, 1, 32, 16, generator=generator)
    parts = torch.randn(3, 4, 12, generator=generator)
    network.decoder.calibrate(parts)
    painted = network(guidance, parts)
    shifted = 7 + 3 * parts
    network.decoder.calibrate(shifted)
    torch.testing.assert_close(network(guidance, shifted), painted, atol=1e-4, rtol=1e-4)


def test_calibration_survives_dead_channels() -> None:
    network = _generator()
    parts = torch.zeros(3, 4, 12)
    network.decoder.calibrate(parts)
    assert bool(network(torch.zeros(3, 1, 32, 16), parts).isfinite().all())


def test_a_wrong_number_of_parts_is_refused() -> None:
    with pytest.raises(AssertionError):
        _generator()(torch.zeros(1, 1, 32, 16), torch.zeros(1, 3, 12))
