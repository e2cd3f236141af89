import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from reid_core.errors import UserError
from reid_core.models import weights as module
from reid_core.models.checkpoint_file import read_foreign_state
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import (
    identity_header,
    load_discriminator,
    load_foreign,
    load_generator,
    load_identity,
    load_pretrained,
    network_header,
    read_header,
    save_weights,
)
from reid_core.seeds import initialised


def _encoder(seed: int = 0) -> IdentityEncoder:
    return initialised(lambda: IdentityEncoder("resnet10"), seed)


def _backbone(encoder: IdentityEncoder) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items()}


def _assert_same(first: torch.nn.Module, second: torch.nn.Module) -> None:
    for (name, one), (other_name, two) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert name == other_name
        assert torch.equal(one, two), name


def test_round_trip_of_all_networks(tmp_path: Path) -> None:
    encoder, generator, discriminator = _encoder(), Generator(16, part_dim=8, norm="none"), Discriminator(4)
    generator.decoder.calibrate(torch.rand(4, 4, 8))
    save_weights(encoder, tmp_path / "e.safetensors", identity_header(encoder, (64, 32)))
    save_weights(generator, tmp_path / "g.safetensors", network_header(generator, (64, 32)))
    save_weights(discriminator, tmp_path / "d.safetensors", network_header(discriminator, (64, 32)))
    _assert_same(load_identity(tmp_path / "e.safetensors"), encoder)
    _assert_same(load_generator(tmp_path / "g.safetensors"), generator)
    _assert_same(load_discriminator(tmp_path / "d.safetensors"), discriminator)
    assert read_header(tmp_path / "e.safetensors")["image_size"] == [64, 32]
    assert not load_identity(tmp_path / "e.safetensors").training


def test_another_kind_of_network_is_refused(tmp_path: Path) -> None:
    encoder = _encoder()
    save_weights(encoder, tmp_path / "e.safetensors", identity_header(encoder, (64, 32)))
    with pytest.raises(UserError, match="identity network, wanted a generator"):
        load_generator(tmp_path / "e.safetensors")


@pytest.mark.parametrize("content", [b"", b"no weights at all, whatever the name says"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"e\.safetensors"):
        load_identity(tmp_path / "e.safetensors")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "module.base."])
def test_torchvision_names_under_any_prefix(prefix: str) -> None:
    source, encoder = _encoder(1), _encoder(2)
    state = {prefix + name: tensor for name, tensor in _backbone(source).items()}
    report = load_foreign(encoder, state | {"classifier.weight": torch.zeros(7, 512)}, source="test")
    _assert_same(encoder.backbone, source.backbone)
    assert report.skipped == ("classifier.weight",)
    assert all(name.startswith("neck.") for name in report.missing)


@pytest.mark.parametrize("first", [("conv1", "bn1", "maxpool"), ("conv1", "bn1", "relu", "maxpool")])
def test_a_resnet_wrapped_as_a_sequence(first: tuple[str, ...]) -> None:
    # SpCL and Cluster Contrast number the layers; feat_bn is their neck.
    source, encoder = _encoder(1), _encoder(2)
    order = [*first, "layer1", "layer2", "layer3", "layer4"]
    state = {}
    for name, tensor in _backbone(source).items():
        layer, rest = name.split(".", 1)
        state[f"module.base.{order.index(layer)}.{rest}"] = tensor
    state |= {f"module.feat_bn.{name}": tensor for name, tensor in source.neck.state_dict().items()}
    report = load_foreign(encoder, state, source="test")
    _assert_same(encoder, source)
    assert report.missing == ()


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_wrapped_checkpoints(tmp_path: Path, key: str) -> None:
    source, encoder = _encoder(1), _encoder(2)
    torch.save({key: _backbone(source), "epoch": 3, "best_mAP": 0.5}, tmp_path / "model.pth")
    report = load_pretrained(encoder, str(tmp_path / "model.pth"))
    _assert_same(encoder.backbone, source.backbone)
    assert len(report.matched) == len(source.backbone.state_dict())


def test_own_weights_are_a_checkpoint_too(tmp_path: Path) -> None:
    source, encoder = _encoder(1), _encoder(2)
    save_weights(source, tmp_path / "identity.safetensors", identity_header(source, (64, 32)))
    assert load_pretrained(encoder, str(tmp_path / "identity.safetensors")).missing == ()
    _assert_same(encoder, source)


def test_a_checkpoint_of_another_architecture_is_refused() -> None:
    state = {"conv1.weight": torch.zeros(8, 3, 5, 5), "fc.weight": torch.zeros(3, 3)}
    with pytest.raises(UserError, match=r"other\.pth does not fit the encoder resnet10: 0 of 12 convolutions"):
        load_foreign(_encoder(), state, source="other.pth")


@pytest.mark.parametrize(
    ("checkpoint", "encoder", "sentence"),
    [
        ("resnet50", "resnet10", r"5 of 12 convolutions and 36 of 48 .* 265 .*of resnet50: set the architecture"),
        ("resnet18", "resnet34", r"20 of 36 convolutions .*of resnet18"),
        # All convolutions of the shallower network are there, but they were not trained to stand alone.
        ("resnet18", "resnet10", r"12 of 12 convolutions .*, 8 convolutions of blocks .*of resnet18"),
        ("resnet101", "resnet50", r"53 of 53 convolutions .*, 51 convolutions of blocks .*of resnet101"),
        ("resnext50_32x4d", "resnet50", r"5 of 53 convolutions .*of resnext50_32x4d"),
        ("wide_resnet50_2", "resnet50", r"5 of 53 convolutions .*of wide_resnet50_2"),
        ("efficientnet_lite0", "resnet50", r"0 of 53 convolutions .*of efficientnet_lite0"),
    ],
)
def test_weights_that_hardly_fit_are_refused_with_counts(
    checkpoint: str, encoder: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ARCHITECTURES", ("resnet10", encoder, checkpoint))  # all of them take seconds
    with torch.device("meta"):  # shapes alone
        state = IdentityEncoder(checkpoint).backbone.state_dict()
        filled = IdentityEncoder(encoder)
    with pytest.raises(UserError, match=f"w.pth does not fit the encoder {encoder}: {sentence}"):
        load_foreign(filled, state, source="w.pth")


def test_batch_norm_of_another_kind_is_refused() -> None:
    # As in IBN-Net: every convolution is there, but the first batch norm of each block is split.
    state = _backbone(_encoder(1))
    split = {name.replace(".bn1.", ".bn1.BN."): tensor for name, tensor in state.items()}
    with pytest.raises(UserError, match=r"12 of 12 convolutions and 32 of 48 entries of batch norm"):
        load_foreign(_encoder(2), split, source="ibn.pth")


def test_a_refused_checkpoint_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ARCHITECTURES", ("resnet10",))
    encoder, state = _encoder(2), _backbone(_encoder(1))
    with pytest.raises(UserError, match=r"0 of 12 convolutions .* begin with encoder_q"):
        load_foreign(encoder, {f"encoder_q.{name}": tensor for name, tensor in state.items()}, source="moco.pth")
    with pytest.raises(UserError, match="0 of 12 convolutions"):
        load_foreign(encoder, {name: tensor.to(torch.uint8) for name, tensor in state.items()}, source="bytes.pth")
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match=r"nan\.pth holds NaN or infinity in 1 entries \(layer1\.0\.conv1\.weight\)"):
        load_foreign(encoder, state, source="nan.pth")
    _assert_same(encoder, _encoder(2))


def test_one_convolution_of_another_shape_is_borne() -> None:
    # Of twelve: a first layer for another kind of picture.
    source, encoder = _encoder(1), _encoder(2)
    report = load_foreign(encoder, _backbone(source) | {"conv1.weight": torch.zeros(64, 6, 7, 7)}, source="test")
    assert report.skipped == ("conv1.weight",)
    assert "backbone.conv1.weight" in report.missing
    assert torch.equal(encoder.backbone.layer4[0].conv2.weight, source.backbone.layer4[0].conv2.weight)


def test_own_files_of_others_are_named(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"other\.safetensors does not hold weights that genvar wrote, but those of an"):
        load_identity(tmp_path / "other.safetensors")
    header = identity_header(_encoder(), (64, 32))
    save_weights(_encoder(), tmp_path / "e.safetensors", header | {"settings": {"arch": "resnet18"}})
    with pytest.raises(UserError, match="do not fit the network that its header describes"):
        load_identity(tmp_path / "e.safetensors")
    save_weights(_encoder(), tmp_path / "e.safetensors", header | {"settings": {"depth": 18}})
    with pytest.raises(UserError, match="do not fit the network that its header describes"):
        load_identity(tmp_path / "e.safetensors")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_pretrained(_encoder(), str(tmp_path / "absent.pth"))


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, ("raise SystemExit('code of a checkpoint ran')",))


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    with (tmp_path / "model.pth").open("wb") as file:
        pickle.dump({"state_dict": _Code()}, file)
    with pytest.raises(UserError, match="tensors alone"):
        read_foreign_state(tmp_path / "model.pth")


def test_no_weights_leave_the_encoder_alone() -> None:
    encoder = _encoder(2)
    assert load_pretrained(encoder, "none").matched == ()
    _assert_same(encoder, _encoder(2))


def test_offline_weights_are_refused_for_another_architecture() -> None:
    with pytest.raises(UserError, match=r"efficientnet_lite0 alone, but the encoder is resnet10"):
        load_pretrained(IdentityEncoder("resnet10"), "offline")


def test_torchvision_has_no_weights_for_the_lite_network_and_says_which_there_are() -> None:
    with pytest.raises(UserError, match=r"weights=offline"):
        load_pretrained(IdentityEncoder("efficientnet_lite0"), "imagenet")
