"""What ``genvar export`` does: an encoder as ONNX, checked before anybody sees it."""

from pathlib import Path

import torch

from pipeline.trained_encoder import TrainedEncoder
from reid_core.data.images import load_images, verify_image
from reid_core.errors import UserError
from reid_core.evaluation.embed import find_pictures
from reid_core.models.onnx_export import TOLERANCE, export_onnx, largest_difference
from reid_core.models.weights import load_identity

_BATCHES = (1, 5)
_NUM_RANDOM = 10
_NUM_REAL = 10


def export_encoder(encoder: TrainedEncoder, out: Path, pictures: Path | None) -> float:
    """Write an encoder as ONNX and compare it with torch, at batch sizes 1 and 5.

    Args:
        encoder: What to export.
        out: File to write; it only appears when the comparison succeeds.
        pictures: Folder of real pictures to compare on, beside random ones; or None.

    Returns:
        Largest difference of an entry of an L2-normalised embedding.
    """
    network = load_identity(encoder.weights)
    images = [_random_images(encoder.image_size)]
    if pictures is not None:
        root, names = find_pictures(pictures)
        readable = [root / name for name in names if not verify_image(root / name).problem][:_NUM_REAL]
        if not readable:
            raise UserError(f"none of the pictures in {pictures} can be read; name a folder with others")
        images.append(load_images(readable, encoder.image_size))
    unchecked = out.with_name(f"{out.name}.unchecked")
    try:
        facts = {"encoder": encoder.digest, "title": encoder.title, "architecture": network.arch}
        export_onnx(network, unchecked, image_size=encoder.image_size, facts=facts)
        difference = max(
            largest_difference(unchecked, network, some, batch_size=size) for some in images for size in _BATCHES
        )
        # Written so that a difference that is no number fails too.
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported file differs from torch by {difference:.1e}, more than {TOLERANCE:.0e}: the versions of "
                "torch and onnxruntime do not go together; install those of constraints.txt"
            )
        unchecked.replace(out)
    finally:
        unchecked.unlink(missing_ok=True)
    return difference


def _random_images(image_size: tuple[int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (_NUM_RANDOM, 3, *image_size), dtype=torch.uint8, generator=generator)
