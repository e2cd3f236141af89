"""Weights on disk: safetensors with a JSON header, and the checkpoints of other projects."""

import json
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import torch
import torchvision.models as zoo
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reid_core.errors import UserError
from reid_core.models.discriminator import Discriminator
from reid_core.models.efficientnet import packaged_imagenet_state
from reid_core.models.generator import Generator
from reid_core.models.identity import LITE, IdentityEncoder

IDENTITY_FILE = "identity.safetensors"  # the encoder among the results of a stage
_HEADER = "genvar"
# The peers wrap a ResNet as Sequential(conv1, bn1, [relu,] maxpool, layer1..layer4).
_SEQUENTIALS = (
    ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
)


class LoadReport(NamedTuple):
    """What became of a foreign checkpoint's entries.

    Attributes:
        matched: Entries of the encoder that were filled.
        skipped: Names in the checkpoint that fitted nowhere.
        missing: Entries of the encoder that kept their values.
    """

    matched: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]


def save_weights(module: nn.Module, path: Path, header: Mapping[str, Any]) -> None:
    """Write a network's parameters and buffers as safetensors.

    Args:
        module: Network; read from whatever device it is on.
        path: File to write.
        header: What is needed to build the network again and to feed it; JSON values.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_file(tensors, path, metadata={_HEADER: json.dumps(dict(header), sort_keys=True)})


def identity_header(encoder: IdentityEncoder, image_size: tuple[int, int]) -> dict[str, Any]:
    """Describe an encoder whose images are ``image_size`` = (H, W)."""
    return {
        "kind": "identity",
        "settings": {"arch": encoder.arch},
        "image_size": list(image_size),
        "input": "RGB in [-1, 1]; the network applies ImageNet's mean and deviation itself",
    }


def network_header(network: Generator | Discriminator, image_size: tuple[int, int]) -> dict[str, Any]:
    """Describe a generator or discriminator whose images are ``image_size`` = (H, W)."""
    kind = "generator" if isinstance(network, Generator) else "discriminator"
    return {"kind": kind, "settings": network.settings, "image_size": list(image_size), "input": "in [-1, 1]"}


def read_header(path: Path) -> dict[str, Any]:
    """Return the JSON header of weights that ``save_weights`` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} does not hold weights that genvar wrote ({error}); train the stage again") from error
    assert isinstance(header, dict)
    return header


def find_identity(folder: Path) -> Path:
    """Return the weights of the encoder in the folder of a run or of its artifacts."""
    for path in (folder / IDENTITY_FILE, folder / "artifacts" / IDENTITY_FILE):
        if path.is_file():
            return path
    raise UserError(
        f"{folder} holds no {IDENTITY_FILE}; name the folder of a joint or identity run, or the file itself"
    )


def load_identity(path: Path) -> IdentityEncoder:
    """Build the encoder described by the file's header and fill it; in evaluation mode, on the CPU."""
    encoder = IdentityEncoder(**_settings(path, "identity"))
    encoder.load_state_dict(load_file(path))
    return encoder.eval()


def load_generator(path: Path) -> Generator:
    """Build the generator described by the file's header and fill it; in evaluation mode, on the CPU."""
    generator = Generator(**_settings(path, "generator"))
    generator.load_state_dict(load_file(path))
    return generator.eval()


def load_discriminator(path: Path) -> Discriminator:
    """Build the discriminator described by the file's header and fill it; on the CPU."""
    discriminator = Discriminator(**_settings(path, "discriminator"))
    discriminator.load_state_dict(load_file(path))
    return discriminator


def load_pretrained(encoder: IdentityEncoder, weights: str) -> LoadReport:
    """Fill an encoder from where the user said.

    Args:
        encoder: Filled in place.
        weights: ``"none"``, ``"imagenet"`` (torchvision's, needs the internet once), ``"offline"`` (ImageNet weights
            of EfficientNet-Lite0, which are installed with the project) or a file.

    Returns:
        What was matched; everything is missing for ``"none"``.
    """
    if weights == "none":
        return LoadReport((), (), tuple(encoder.state_dict()))
    if weights == "offline":
        state = _offline_state(encoder.arch)
    elif weights == "imagenet":
        state = _imagenet_state(encoder.arch)
    else:
        state = read_foreign_state(Path(weights))
    return load_foreign(encoder, state, source=weights)


def load_foreign(encoder: IdentityEncoder, state: Mapping[str, Tensor], *, source: str) -> LoadReport:
    """Fill an encoder from another project's state dict, by name and shape.

    Args:
        encoder: Filled in place.
        state: Name to tensor; names as in torchvision, with any of the peers' prefixes.
        source: Named in the error.

    Returns:
        What was matched, skipped and missing.
    """
    own = encoder.state_dict()
    # One wrapping for the whole checkpoint: entry by entry, counters without a shape would land in the wrong layer.
    plans = [_fitting(own, state, layout) for layout in ((), *_SEQUENTIALS)]
    target_of = max(plans, key=len)
    filled = {target: state[name] for name, target in target_of.items()}
    if not any(name.startswith("backbone.") and own[name].dim() > 1 for name in filled):
        raise UserError(
            f"none of the {len(state)} entries of {source} fits the encoder {encoder.arch}; "
            "check that the checkpoint's architecture is the configured one"
        )
    encoder.load_state_dict({**own, **filled})
    return LoadReport(
        matched=tuple(filled),
        skipped=tuple(name for name in state if name not in target_of),
        missing=tuple(name for name in own if name not in filled),
    )


def read_foreign_state(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint of any of the peers: safetensors, a state dict, or one under ``state_dict`` or ``model``."""
    if not path.is_file():
        raise UserError(
            f"the checkpoint {path} does not exist; give none, imagenet, offline or an existing file as weights"
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the kind of pickle
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Torch's own words advise to load it all the same.
        raise UserError(
            f"the checkpoint {path} cannot be read as tensors alone: it holds Python objects, which could execute "
            "anything; save it again as a plain state dict"
        ) from error
    except (OSError, RuntimeError, EOFError, SafetensorError, ValueError) as error:
        raise UserError(
            f"the checkpoint {path} cannot be read as tensors alone ({str(error).splitlines()[0]}); "
            "save it again as a plain state dict"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise UserError(f"the checkpoint {path} holds a {type(content).__name__}, wanted a state dict (name to tensor)")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _fitting(own: Mapping[str, Tensor], state: Mapping[str, Tensor], layout: Sequence[str]) -> dict[str, str]:
    """Return foreign name to own name, where name and shape agree under one wrapping."""
    found: dict[str, str] = {}
    for name, tensor in state.items():
        for target in _own_names(name, layout):
            if target in own and target not in found.values() and own[target].shape == tensor.shape:
                found[name] = target
                break
    return found


def _own_names(name: str, layout: Sequence[str]) -> list[str]:
    name = name.removeprefix("module.")
    bare = re.sub(r"^(backbone|base|encoder|model)\.", "", name)
    names = [name, f"backbone.{bare}"]
    if (match := re.match(r"^(\d+)\.(.*)$", bare)) and int(match[1]) < len(layout):
        names.append(f"backbone.{layout[int(match[1])]}.{match[2]}")
    if match := re.match(r"^(?:heads\.)?(?:feat_bn|bnneck|bottleneck)\.(?:0\.)?(.*)$", bare):
        names.append(f"neck.{match[1]}")
    return names


def _offline_state(arch: str) -> Mapping[str, Tensor]:
    if arch != LITE:
        raise UserError(
            f"offline ImageNet weights are there for {LITE} alone, but the encoder is {arch}; set arch={LITE}"
        )
    return packaged_imagenet_state()


def _imagenet_state(arch: str) -> dict[str, Tensor]:
    try:
        weights = zoo.get_model_weights(arch)
    except ValueError as error:
        other = "weights=offline" if arch == LITE else "weights=none or a file"
        raise UserError(f"torchvision has no ImageNet weights for {arch}; choose {other}") from error
    try:
        return dict(next(iter(weights)).get_state_dict(progress=False))
    except (URLError, OSError) as error:
        raise UserError(
            f"ImageNet weights of {arch} could not be downloaded ({error}); "
            f"choose weights=none, weights=FILE with a checkpoint that you bring, or weights=offline with arch={LITE}"
        ) from error


def _settings(path: Path, kind: str) -> dict[str, Any]:
    header = read_header(path)
    if header.get("kind") != kind:
        raise UserError(f"{path} holds a {header.get('kind')} network, wanted a {kind}; give the other file")
    settings = header["settings"]
    assert isinstance(settings, dict)
    return settings
