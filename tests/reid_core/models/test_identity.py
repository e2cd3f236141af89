import pytest
import torch
import torchvision.models as zoo
from torch import Tensor, nn

from reid_core.errors import UserError
from reid_core.models.identity import BACKBONES, IdentityEncoder, painted_maps, part_appearance
from reid_core.seeds import initialised


@pytest.mark.parametrize(
    ("arch", "dim"),
    [("resnet10", 512), ("resnet18", 512), ("resnet50", 2048), ("resnext50_32x4d", 2048), ("efficientnet_lite0", 1280)],
)
def test_last_stride_is_one_and_the_embedding_is_the_pooled_map(arch: str, dim: int) -> None:
    encoder = initialised(lambda: IdentityEncoder(arch), 0).eval()
    with torch.no_grad():
        seen = encoder(torch.rand(2, 3, 64, 32) * 2 - 1)
    assert seen.maps.last.shape == (2, dim, 4, 2)  # 64 / 16, where stride 2 would give 64 / 32
    assert encoder.embedding_dim == dim
    torch.testing.assert_close(seen.embedding, encoder.neck(seen.maps.last.mean(dim=(2, 3))))


@pytest.mark.parametrize("arch", ["resnet10", "resnet18", "resnet50", "resnext50_32x4d", "efficientnet_lite0"])
def test_early_maps_are_the_last_ones_of_their_size(arch: str) -> None:
    encoder = initialised(lambda: IdentityEncoder(arch), 0).eval()
    with torch.no_grad():
        maps = encoder.maps(torch.zeros(1, 3, 64, 32))
    assert [tuple(each.shape[2:]) for each in maps if each is not None] == [(16, 8), (8, 4), (4, 2)]
    assert tuple(each.shape[1] for each in maps if each is not None) == encoder.map_channels


class Patches(nn.Module):
    """The least that a backbone has to offer: a last map."""

    channels, pixel_mean, pixel_std = (None, None, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 16, stride=16)

    def forward(self, images: Tensor) -> tuple[None, None, Tensor]:
        return None, None, self.embed(images)

    def compilable(self) -> list[nn.Module]:
        return [self]


def test_a_new_backbone_needs_its_last_map_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "patches", Patches)
    encoder = IdentityEncoder("patches").eval()
    encoded = encoder(torch.zeros(2, 3, 64, 32))
    assert encoded.embedding.shape == (2, 8)
    assert encoded.rows(slice(1)).maps.last.shape == (1, 8, 4, 2)
    assert len(painted_maps(encoded.maps, "last")) == 1
    with pytest.raises(UserError, match="no maps at a quarter"):
        painted_maps(encoded.maps, "early")


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_resnets_are_those_of_torchvision(arch: str) -> None:
    theirs = {name: value for name, value in getattr(zoo, arch)().state_dict().items() if not name.startswith("fc.")}
    ours = IdentityEncoder(arch).backbone.state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: v.shape for name, v in theirs.items()}


def test_images_are_normalised_inside() -> None:
    # The mean colour of ImageNet becomes zero, and zero images give what the first layer's bias-free convolution gives.
    encoder = initialised(lambda: IdentityEncoder("resnet10"), 0).eval()
    colour = (encoder.pixel_mean * 2 - 1).expand(1, 3, 32, 32)
    seen: list[torch.Tensor] = []
    encoder.backbone.conv1.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    encoder(colour)
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32), atol=1e-6, rtol=0)


def test_stripes_match_a_slow_loop(generator: torch.Generator) -> None:
    feature_map = torch.randn(2, 3, 8, 2, generator=generator)
    parts = part_appearance(feature_map, 4)
    assert parts.shape == (2, 4, 3)
    for part in range(4):
        for channel in range(3):
            stripe = [float(v) for v in feature_map[1, channel, 2 * part : 2 * part + 2].flatten()]
            assert float(parts[1, part, channel]) == pytest.approx(sum(stripe) / len(stripe), abs=1e-6)


def test_stripes_overlap_when_rows_do_not_divide() -> None:
    # 3 rows in 2 stripes: rows 0, 1 and rows 1, 2, as adaptive pooling does.
    feature_map = torch.tensor([0.0, 1.0, 5.0]).view(1, 1, 3, 1)
    torch.testing.assert_close(part_appearance(feature_map, 2), torch.tensor([[[0.5], [3.0]]]))


def test_the_head_stripe_is_blind_to_the_feet(generator: torch.Generator) -> None:
    feature_map = torch.randn(1, 3, 8, 2, generator=generator)
    changed = feature_map.clone()
    changed[:, :, 6:] += 1
    before, after = part_appearance(feature_map, 4), part_appearance(changed, 4)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"resnet51.*resnet50"):
        IdentityEncoder("resnet51")


def test_the_seed_alone_decides_the_start() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = initialised(lambda: IdentityEncoder("resnet10"), 7, "identity")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = initialised(lambda: IdentityEncoder("resnet10"), 7, "identity")
    other = initialised(lambda: IdentityEncoder("resnet10"), 8, "identity")
    assert torch.equal(first.backbone.conv1.weight, second.backbone.conv1.weight)
    assert not torch.equal(first.backbone.conv1.weight, other.backbone.conv1.weight)
