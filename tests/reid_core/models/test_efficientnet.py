import torch

from reid_core.models.efficientnet import EfficientNetLite0, packaged_imagenet_state
from reid_core.models.identity import LITE, IdentityEncoder
from reid_core.models.weights import load_pretrained
from reid_core.seeds import initialised


def test_the_last_stride_is_one_at_any_size_divisible_by_sixteen() -> None:
    network = initialised(EfficientNetLite0, 0).eval()
    with torch.no_grad():
        for height, width in ((64, 32), (112, 48)):
            maps = network(torch.zeros(2, 3, height, width))
            for feature_map, channels, stride in zip(maps, EfficientNetLite0.channels, (4, 8, 16), strict=True):
                assert feature_map.shape == (2, channels, height // stride, width // stride)


def test_the_last_map_is_the_packages_own() -> None:
    network = initialised(EfficientNetLite0, 0).eval()
    images = torch.linspace(-1, 1, 2 * 3 * 64 * 32).view(2, 3, 64, 32).sin()
    with torch.no_grad():
        assert torch.equal(network(images)[-1], network.network.extract_features(images))


def test_training_draws_no_random_number() -> None:
    network = initialised(EfficientNetLite0, 0).train()
    before = torch.get_rng_state()
    network(torch.zeros(2, 3, 32, 32))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_packaged_weights_fill_the_whole_backbone() -> None:
    encoder = initialised(lambda: IdentityEncoder(LITE), 0)
    report = load_pretrained(encoder, "offline")
    assert not report.skipped
    assert all(name.startswith("neck.") for name in report.missing)
    stem = packaged_imagenet_state()["network._conv_stem.weight"]
    assert torch.equal(encoder.backbone.network._conv_stem.weight, stem)


def test_pre_trained_features_tell_textures_apart(generator: torch.Generator) -> None:
    # Two crops of one texture are nearer to each other than to another texture: chance would be seen at once.
    encoder = initialised(lambda: IdentityEncoder(LITE), 0)
    load_pretrained(encoder, "offline")
    stripes = (torch.arange(64)[:, None] // 4 % 2).float().expand(64, 32) * 2 - 1
    noise = torch.rand(64, 32, generator=generator) * 2 - 1
    images = torch.stack([stripes, stripes.roll(3, 0), noise, noise.roll(5, 1)])[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        features = torch.nn.functional.normalize(encoder.eval()(images).embedding, dim=1)
    similarity = features @ features.T
    assert float(similarity[0, 1]) > float(similarity[0, 2:].max())
    assert float(similarity[2, 3]) > float(similarity[2, :2].max())
