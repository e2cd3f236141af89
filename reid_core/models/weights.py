"""Weights on disk: safetensors with a JSON header, and the checkpoints of other projects."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.error import URLError

import torch
import torchvision.models as zoo
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reid_core.errors import UserError, first_line
from reid_core.models.checkpoint_file import read_foreign_state, refuse_other_files
from reid_core.models.discriminator import Discriminator
from reid_core.models.efficientnet import packaged_imagenet_state
from reid_core.models.generator import Generator
from reid_core.models.identity import ARCHITECTURES, LITE, IdentityEncoder, map_channels

Network = TypeVar("Network", bound=nn.Module)
IDENTITY_FILE = "identity.safetensors"  # the encoder among the results of a stage
_HEADER = "genvar"
# The peers wrap a ResNet as Sequential(conv1, bn1, [relu,] maxpool, layer1..layer4).
_SEQUENTIALS = (
    ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
)
_NEARLY_ALL = 0.9  # share of the backbone's entries that a checkpoint has to fill


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
    if path.is_file():
        refuse_other_files(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(
            f"{path} does not hold weights that genvar wrote ({first_line(error)}); train the stage again"
        ) from error
    try:
        header = json.loads(metadata[_HEADER])
        if isinstance(header["settings"], dict) and len(header["image_size"]) == 2:
            return dict(header)
    except (KeyError, TypeError, ValueError):
        pass
    raise UserError(
        f"{path} does not hold weights that genvar wrote, but those of another program: a training can "
        "begin with them, nothing else reads them"
    )


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
    return _load(path, "identity", IdentityEncoder).eval()


def load_generator(path: Path) -> Generator:
    """Build the generator described by the file's header and fill it; in evaluation mode, on the CPU."""
    return _load(path, "generator", Generator).eval()


def load_discriminator(path: Path) -> Discriminator:
    """Build the discriminator described by the file's header and fill it; on the CPU."""
    return _load(path, "discriminator", Discriminator)


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


def check_pretrained(arch: str, weights: str) -> None:
    """Refuse weights that would not fill an encoder, as far as this machine tells: nothing is downloaded.

    Args:
        arch: Of the encoder.
        weights: As for ``load_pretrained``.
    """
    if weights not in ("none", "imagenet"):
        load_pretrained(IdentityEncoder(arch), weights)
        return
    map_channels(arch)  # refuses an architecture that is unknown
    if weights == "imagenet":
        _imagenet_weights(arch)


def load_foreign(encoder: IdentityEncoder, state: Mapping[str, Tensor], *, source: str) -> LoadReport:
    """Fill an encoder from another project's state dict, by name and shape; refuse what fits only here and there.

    Args:
        encoder: Filled in place.
        state: Name to tensor; names as in torchvision, with any of the peers' prefixes.
        source: Named in the error.

    Returns:
        What was matched, skipped and missing.
    """
    own = encoder.state_dict()
    fit = _best_fit(own, state)
    if not fit.is_whole:
        raise UserError(f"{source} does not fit the encoder {encoder.arch}: {fit}; {_advice(encoder.arch, state)}")
    filled = {target: state[name] for name, target in fit.target_of.items()}
    if bad := [name for name in fit.target_of if state[name].is_floating_point() and not state[name].isfinite().all()]:
        raise UserError(f"{source} holds NaN or infinity in {len(bad)} entries ({bad[0]}); take another checkpoint")
    encoder.load_state_dict({**own, **filled})
    return LoadReport(
        matched=tuple(filled),
        skipped=tuple(name for name in state if name not in fit.target_of),
        missing=tuple(name for name in own if name not in filled),
    )


@dataclass(frozen=True)
class _Fit:
    """How well a checkpoint fits an encoder's backbone, under one wrapping of its names.

    Attributes:
        target_of: Foreign name to own name.
        convolutions: Filled and all of the backbone's convolutions.
        others: Filled and all other entries that have a shape: batch norm and biases.
        deeper: Convolutions of the checkpoint that belong to further blocks of the backbone's own layers.
        unused: Filled nothing, and all entries of the checkpoint.
    """

    target_of: dict[str, str]
    convolutions: tuple[int, int]
    others: tuple[int, int]
    deeper: int
    unused: tuple[int, int]

    @property
    def is_whole(self) -> bool:
        """Whether nearly everything is filled, from a network that is no deeper."""
        wanted = (filled >= _NEARLY_ALL * count for filled, count in (self.convolutions, self.others))
        return all(wanted) and self.deeper <= (1 - _NEARLY_ALL) * self.convolutions[1]

    def __str__(self) -> str:
        deeper = f", {self.deeper} convolutions of blocks that the encoder does not have" if self.deeper else ""
        return (
            f"{self.convolutions[0]} of {self.convolutions[1]} convolutions and {self.others[0]} of {self.others[1]} "
            f"entries of batch norm would be filled{deeper}, and {self.unused[0]} of the checkpoint's {self.unused[1]} "
            "entries fit nowhere"
        )


def _best_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> _Fit:
    # One wrapping for the whole checkpoint: entry by entry, counters without a shape would land in the wrong layer.
    layout, target_of = max(
        ((layout, _fitting(own, state, layout)) for layout in ((), *_SEQUENTIALS)), key=lambda plan: len(plan[1])
    )
    backbone = {name: tensor.dim() for name, tensor in own.items() if name.startswith("backbone.") and tensor.dim()}
    filled = set(target_of.values())
    counts = [
        (sum(name in filled for name in names), len(names))
        for names in (
            [name for name, dim in backbone.items() if dim > 1],
            [name for name, dim in backbone.items() if dim == 1],
        )
    ]
    layers = {name.split(".")[1] for name in backbone}
    deeper = sum(
        any(target not in own and target.split(".")[1] in layers for target in _own_names(name, layout)[1:])
        for name, tensor in state.items()
        if tensor.dim() == 4 and name not in target_of
    )
    return _Fit(target_of, counts[0], counts[1], deeper, (len(state) - len(target_of), len(state)))


def _advice(arch: str, state: Mapping[str, Tensor]) -> str:
    """Say which architecture a checkpoint fits, or how its names look."""
    for other in ARCHITECTURES:
        with torch.device("meta"):  # shapes alone
            own = IdentityEncoder(other).state_dict()
        if _best_fit(own, state).is_whole:
            return f"it is a checkpoint of {other}: set the architecture to that, or give weights of {arch}"
    first = next(iter(state), "nothing")
    return f"give a checkpoint of {arch} with the names of torchvision (its own begin with {first})"


def _fitting(own: Mapping[str, Tensor], state: Mapping[str, Tensor], layout: Sequence[str]) -> dict[str, str]:
    """Return foreign name to own name, where name and shape agree under one wrapping."""
    found: dict[str, str] = {}
    for name, tensor in state.items():
        for target in _own_names(name, layout):
            if target in own and target not in found.values() and _alike(own[target], tensor):
                found[name] = target
                break
    return found


def _alike(own: Tensor, other: Tensor) -> bool:
    return own.shape == other.shape and own.is_floating_point() == other.is_floating_point()


def _own_names(name: str, layout: Sequence[str]) -> list[str]:
    """Return what an entry of a checkpoint may be called here: as it is, or as a part of the backbone or the neck."""
    name = name.removeprefix("module.")
    bare = re.sub(r"^(?:(?:module|backbone|base|encoder|model)\.)+", "", name)
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


def _imagenet_weights(arch: str) -> Any:
    try:
        return next(iter(zoo.get_model_weights(arch)))
    except ValueError as error:
        other = "weights=offline" if arch == LITE else "weights=none or a file"
        raise UserError(f"torchvision has no ImageNet weights for {arch}; choose {other}") from error


def _imagenet_state(arch: str) -> dict[str, Tensor]:
    weights = _imagenet_weights(arch)
    try:
        return dict(weights.get_state_dict(progress=False))
    except (URLError, OSError) as error:
        raise UserError(
            f"ImageNet weights of {arch} could not be downloaded ({error}); "
            f"choose weights=none, weights=FILE with a checkpoint that you bring, or weights=offline with arch={LITE}"
        ) from error


def _load(path: Path, kind: str, build: Callable[..., Network]) -> Network:
    header = read_header(path)
    if header.get("kind") != kind:
        raise UserError(f"{path} holds a {header.get('kind')} network, wanted a {kind}; give the other file")
    try:
        network = build(**header["settings"])
        network.load_state_dict(load_file(path))
    except (TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"the weights in {path} do not fit the network that its header describes ({first_line(error)}); "
            "it is damaged or of another version: train the stage again"
        ) from error
    return network
