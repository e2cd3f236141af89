import torch

from reid_core.evaluation.colour_probe import colour_probe


def _people(generator: torch.Generator, count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Return flat stripes of random colours, (N, 4, 3), and images painted with them, (N, 3, 32, 16)."""
    colours = torch.rand(count, 4, 3, generator=generator) * 2 - 1
    return colours, colours.permute(0, 2, 1).repeat_interleave(8, dim=2)[:, :, :, None].expand(-1, -1, -1, 16)


def test_everything_is_held_where_colours_are_a_linear_function_of_the_appearance(generator: torch.Generator) -> None:
    colours, images = _people(generator)
    appearance = colours @ torch.randn(3, 20, generator=generator) + 5
    assert colour_probe(appearance, images) > 0.9


def test_nothing_is_held_by_features_of_something_else(generator: torch.Generator) -> None:
    _, images = _people(generator)
    assert colour_probe(torch.randn(60, 4, 20, generator=generator), images) < 0.1


def test_half_is_held_where_only_half_of_the_stripes_are_known(generator: torch.Generator) -> None:
    colours, images = _people(generator, 200)
    appearance = torch.cat([colours, torch.zeros(200, 4, 3)], dim=2)
    appearance[:, 2:] = torch.randn(200, 2, 6, generator=generator)
    assert 0.4 < colour_probe(appearance, images) < 0.6


def test_only_the_middle_where_people_are_counts(generator: torch.Generator) -> None:
    colours, images = _people(generator)
    beside = images.clone()
    beside[:, :, :, :4] = torch.rand(60, 3, 1, 1, generator=generator)
    beside[:, :, :, 12:] = -1
    assert colour_probe(colours, beside) == colour_probe(colours, images)
