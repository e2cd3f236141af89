"""The two sheets that both generating stages write: rotations and mixes."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from infra.tracking.protocol import Tracker
from reid_core.evaluation.plots.generated import generator_grid, mixing_sheet
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from stages.training.data import ANGLES, GuidanceSource


class ImageBatches(Protocol):
    """Training images, by position."""

    def batch(self, index: Tensor, device: torch.device) -> Tensor:
        """Return images in [-1, 1] on a device, shape (B, 3, H, W)."""
        ...


def write_pictures(
    generator: Generator,
    encoder: IdentityEncoder,
    images: ImageBatches,
    guidance: GuidanceSource,
    out_dir: Path,
    tracker: Tracker,
    *,
    num_people: int = 8,
) -> None:
    """Write ``pictures/generator-grid.png`` and ``pictures/mixing-grid.png`` and show them in the tracker.

    Args:
        generator: S and G.
        encoder: Identity encoder; pictures are made in evaluation mode, its modes are restored.
        images: Training images.
        guidance: Their guidance maps.
        out_dir: Of the stage.
        tracker: Of the stage.
        num_people: Rows of a sheet.
    """
    folder = out_dir / "pictures"
    folder.mkdir(exist_ok=True)
    device = next(generator.parameters()).device
    modes = [(module, module.training) for network in (encoder, generator) for module in network.modules()]
    encoder.eval()
    generator.eval()
    with torch.no_grad():
        index = guidance.shown(num_people)
        shown = images.batch(index, device)
        grid = generator_grid(generator, encoder, shown, guidance.all_angles(index, shown), [0, *ANGLES])
        index = guidance.shown(num_people)  # half as many pairs, of three rows each
        index = index[: len(index) // 2 * 2]
        shown = images.batch(index, device)
        still, _ = guidance.pair(index, torch.zeros(len(index), dtype=torch.long), shown)
        mixes = mixing_sheet(generator, encoder, shown, still) if len(index) else None
    for module, training in modes:
        module.training = training
    for name, picture in (("generator-grid.png", grid), ("mixing-grid.png", mixes)):
        if picture is not None:
            picture.save(folder / name)
            tracker.log_file(folder / name, "pictures")
