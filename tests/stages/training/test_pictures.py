from pathlib import Path

import torch
from PIL import Image

from infra.tracking.protocol import SilentTracker
from reid_core.models.weights import load_generator, load_identity
from stages.training.data import GuidanceSource, read_training_images
from stages.training.pictures import write_pictures


class _Shown(SilentTracker):
    def __init__(self) -> None:
        self.files: list[str] = []

    def log_file(self, path: Path, folder: str) -> None:
        self.files.append(f"{folder}/{path.name}")


def test_both_sheets_are_written_and_shown_and_the_networks_keep_their_modes(
    upstream: dict[str, Path], tmp_path: Path
) -> None:
    images = read_training_images(upstream["data"], tmp_path, torch.device("cpu"))
    guidance = GuidanceSource(upstream["mesh"], images.view.image_ids)
    generator = load_generator(upstream["generator"] / "generator.safetensors").train()
    encoder = load_identity(upstream["identity"] / "identity.safetensors").train()
    encoder.neck.eval()
    tracker = _Shown()
    write_pictures(generator, encoder, images, guidance, tmp_path, tracker, num_people=2)
    assert tracker.files == ["pictures/generator-grid.png", "pictures/mixing-grid.png"]
    with Image.open(tmp_path / "pictures" / "generator-grid.png") as grid:
        assert grid.width > 10 * 32  # input, mesh, reconstruction, seven rotations, turned back
    assert generator.training
    assert encoder.training
    assert not encoder.neck.training
