import pytest
import torch

from reid_core.errors import UserError
from reid_core.learning.generation import draw_angles, edge_guidance, guidance_for


def test_edges_stand_where_the_image_changes() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1.0
    edges = edge_guidance(image)
    assert edges.shape == (1, 1, 8, 8)
    assert bool((edges[..., 3:5] == 1).all())
    assert bool((edges[..., :3] == -1).all())


def test_edges_hide_the_colour() -> None:
    # A red and a green person of equal brightness have the same edges.
    red, green = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    red[:, 0, 2:6, 2:6] = 1
    green[:, 1, 2:6, 2:6] = 1
    assert torch.equal(edge_guidance(red), edge_guidance(green))


def test_meshes_are_scaled_and_edges_fill_the_gaps(generator: torch.Generator) -> None:
    images = torch.rand(2, 3, 8, 4, generator=generator)
    maps = torch.zeros(2, 8, 4, dtype=torch.uint8)
    maps[0, 2:4] = 255
    guidance = guidance_for(images, maps, torch.tensor([True, False]))
    assert float(guidance[0].min()) == -1
    assert float(guidance[0].max()) == 1
    torch.testing.assert_close(guidance[1], edge_guidance(images[1:])[0])


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match="mesh stage"):
        guidance_for(torch.zeros(1, 3, 8, 4), torch.zeros(1, 16, 8, dtype=torch.uint8), torch.tensor([True]))


def test_all_seven_angles_are_drawn(generator: torch.Generator) -> None:
    angles = torch.arange(45, 360, 45)
    counts = torch.bincount(draw_angles(7000, angles, generator=generator) // 45, minlength=8)[1:]
    assert bool((counts > 850).all())
    assert int(counts.sum()) == 7000
