import pytest
import torch
import torch.nn.functional as F

from reid_core.learning.memory import centre_cameras, lay_out_proxies, proxy_means


def test_a_camera_s_offset_disappears(generator: torch.Generator) -> None:
    people = torch.randn(6, 5, generator=generator)
    offset = torch.randn(5, generator=generator)
    cameras = torch.arange(12) // 6
    seen = torch.cat([people, people + offset])  # the same people, the second camera adds its own colour
    centred = centre_cameras(seen, cameras)
    torch.testing.assert_close(centred[:6], centred[6:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(centred.norm(dim=1), torch.ones(12))


def test_centring_by_hand() -> None:
    # Camera 0: mean (1, 1), so (2, 0) and (0, 2) become (1, -1) and (-1, 1), of length sqrt 2.
    features = torch.tensor([[2.0, 0.0], [0.0, 2.0], [5.0, 1.0], [1.0, 1.0]])
    centred = centre_cameras(features, torch.tensor([0, 0, 1, 1]))
    half = 0.5**0.5
    torch.testing.assert_close(centred, torch.tensor([[half, -half], [-half, half], [1.0, 0.0], [-1.0, 0.0]]))


def test_proxies_are_the_pairs_that_occur() -> None:
    labels = torch.tensor([0, 0, -1, 1, 1, 0])
    cameras = torch.tensor([2, 0, 0, 1, 1, 2])
    layout = lay_out_proxies(labels, cameras)
    assert layout.cluster.tolist() == [0, 0, 1]
    assert layout.camera.tolist() == [0, 2, 1]
    assert layout.of_image.tolist() == [1, 0, -1, 2, 2, 1]


def test_a_proxy_is_the_mean_of_its_images(generator: torch.Generator) -> None:
    features = F.normalize(torch.randn(6, 4, generator=generator), dim=1)
    layout = lay_out_proxies(torch.tensor([0, 0, -1, 1, 1, 0]), torch.tensor([2, 0, 0, 1, 1, 2]))
    means = proxy_means(features, layout)
    torch.testing.assert_close(means[1], F.normalize(features[0] + features[5], dim=0))
    torch.testing.assert_close(means[0], features[1])


def test_labels_and_cameras_must_belong_together() -> None:
    with pytest.raises(AssertionError):
        lay_out_proxies(torch.zeros(3, dtype=torch.long), torch.zeros(2, dtype=torch.long))
