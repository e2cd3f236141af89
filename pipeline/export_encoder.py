"""What ``genvar export`` does: an encoder as ONNX for genvar or another program, checked before anybody sees it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infra.home import check_writable
from pipeline.trained_encoder import TrainedEncoder
from reid_core.data.images import load_images, verify_image
from reid_core.errors import UserError
from reid_core.evaluation.embed import find_pictures
from reid_core.models.onnx_export import INPUTS, TOLERANCE, InputKind, export_onnx, largest_difference, preprocessing
from reid_core.models.weights import load_identity, read_header

_BATCHES = (1, 5)
_NUM_RANDOM = 10
_NUM_REAL = 10
_SMALLEST, _LARGEST = 16, 2048  # pixels of a side


# What the programs feed that take such files.
FED_SIZES: dict[InputKind, tuple[int, int]] = {"imagenet": (256, 128), "unit": (224, 224)}
# BoxMOT reads the architecture from a file's name; for ONNX that only decides the size of the images.
BOXMOT_NAMES = ("resnet50", "resnet101", "mlfn", "hacnn", "mobilenetv2_x1", "osnet")
CONFIG_FILE = "reid_config.json"  # of the folder that roboflow's reid reads


@dataclass(frozen=True)
class Export:
    """What is exported, and where to.

    Attributes:
        encoder: What to export.
        path: The ONNX file.
        in_folder: Whether the file lies in a folder of its own, with ``reid_config.json`` beside it.
        kind: Where normalisation happens.
        image_size: Height and width of the input in pixels.
    """

    encoder: TrainedEncoder
    path: Path
    in_folder: bool
    kind: InputKind
    image_size: tuple[int, int]

    @property
    def metadata_path(self) -> Path:
        """The file beside it that says how to feed it."""
        return self.path.with_name(f"{self.path.name}.metadata.json")


def check_out(out: Path | None) -> None:
    """Refuse what can be neither an ONNX file nor a folder, before any work."""
    if out is None or out.is_dir():
        return
    if out.suffix not in ("", ".onnx"):
        raise UserError(f"--out wants a file that ends in .onnx, or a folder (a name without suffix), but got {out}")
    if (out.exists() and not out.suffix) or not out.absolute().parent.is_dir():
        raise UserError(f"--out names {out}, which is no folder or lies in none that exists; name another one")


def parse_size(size: str) -> tuple[int, int]:
    """Return height and width of a text like 256x128."""
    found = re.fullmatch(r"(\d{1,4})\s*[x,]\s*(\d{1,4})", size.strip().lower())
    height, width = (int(found[1]), int(found[2])) if found else (0, 0)
    if min(height, width) < _SMALLEST or max(height, width) > _LARGEST:
        raise UserError(
            f"--size wants height x width of {_SMALLEST} to {_LARGEST} pixels, such as 256x128, but got {size!r}"
        )
    return height, width


def plan_export(encoder: TrainedEncoder, out: Path | None, kind: InputKind, size: tuple[int, int] | None) -> Export:
    """Decide names and size, so that the program that the input is meant for accepts the file.

    Args:
        encoder: What to export.
        out: An ONNX file; a folder, for roboflow's ``reid``; or None for a file of a fitting name.
        kind: Where normalisation happens.
        size: Height and width; None for the size that is fed, in a folder the size of the training.
    """
    arch = read_header(encoder.weights)["settings"]["arch"]
    in_folder = out is not None and (out.is_dir() or not out.suffix)
    path = Path(default_name(arch, kind)) if out is None else out / "model.onnx" if in_folder else out
    if size is None:
        size = encoder.image_size if in_folder else FED_SIZES.get(kind, encoder.image_size)
    return Export(encoder, path, in_folder, kind, size)


def default_name(arch: str, kind: InputKind) -> str:
    """Return a file name from which BoxMOT (for imagenet) and Ultralytics (for unit) read what the file is."""
    if kind == "genvar":
        return "encoder.onnx"
    if kind == "unit":
        return f"genvar_{arch}-cls.onnx"
    return f"genvar_{arch}.onnx" if fits_boxmot(arch) else f"genvar_{arch}_as_resnet50.onnx"


def fits_boxmot(name: str) -> bool:
    """Return whether a file name holds an architecture that BoxMOT knows."""
    return any(known in name for known in BOXMOT_NAMES)


def export_encoder(export: Export, pictures: Path | None) -> float:
    """Write an encoder as ONNX and compare it with torch, at batch sizes 1 and 5.

    Args:
        export: What and where to; the files only appear when the comparison succeeds.
        pictures: Folder of real pictures to compare on, beside random ones; or None.

    Returns:
        Largest difference of an entry of an L2-normalised embedding.
    """
    encoder, out = export.encoder, export.path
    for path in (out, export.metadata_path):
        if path.is_dir():
            raise UserError(f"{path} would be written, but is a folder; name another place with --out")
        check_writable(path, "name another place with --out")
    network = load_identity(encoder.weights)
    images = [_random_images(export.image_size)]
    if pictures is not None:
        root, names = find_pictures(pictures)
        readable = [root / name for name in names if not verify_image(root / name).problem][:_NUM_REAL]
        if not readable:
            raise UserError(f"none of the pictures in {pictures} can be read; name a folder with others")
        images.append(load_images(readable, export.image_size))
    if export.in_folder:
        out.parent.mkdir(exist_ok=True)
    unchecked = out.with_name(f"{out.name}.unchecked")
    facts = {"encoder": encoder.digest, "title": encoder.title, "architecture": network.arch}
    try:
        export_onnx(network, unchecked, image_size=export.image_size, facts=facts, kind=export.kind)
        difference = max(
            largest_difference(unchecked, network, some, batch_size=size, kind=export.kind)
            for some in images
            for size in _BATCHES
        )
        # Written so that a difference that is no number fails too.
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported file differs from torch by {difference:.1e}, more than {TOLERANCE:.0e}: the versions of "
                "torch and onnxruntime do not go together; install those of constraints.txt"
            )
        # The network last: where it is, what says how to feed it is there too.
        metadata = {**preprocessing(export.image_size, export.kind), **facts, "embedding_dim": network.embedding_dim}
        _write_json(metadata, export.metadata_path)
        if export.in_folder:
            _write_json(reid_config(export), out.with_name(CONFIG_FILE))
        unchecked.replace(out)
    finally:
        unchecked.unlink(missing_ok=True)
    return difference


def reid_config(export: Export) -> dict[str, Any]:
    """Return what roboflow's ``reid`` does with a crop: pixels from 0 to 1, minus mean, divided by deviation."""
    pixels = INPUTS[export.kind]
    return {
        "input_size": list(export.image_size),
        "mean": list(pixels.mean),
        "std": list(pixels.std),
        "interpolation": "bicubic",
        "to_rgb": True,
        "normalize_embeddings": True,
    }


def _write_json(content: dict[str, Any], path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    part.replace(path)


def _random_images(image_size: tuple[int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (_NUM_RANDOM, 3, *image_size), dtype=torch.uint8, generator=generator)
