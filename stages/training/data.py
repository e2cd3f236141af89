"""Data of the training stages: images in memory, their guidance maps, varied batches, and what an epoch writes."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from infra.tracking.protocol import Tracker
from reid_core.clustering.settings import LabelSettings
from reid_core.data.images import as_float, is_whole, map_decoded, write_decoded
from reid_core.data.manifest import UnlabelledImages, manifest_digest, read_manifest, unlabelled
from reid_core.data.transfer import send
from reid_core.distributed import count_over_ranks, gather_batch, own_slice, world
from reid_core.errors import UserError
from reid_core.evaluation.embed import embed
from reid_core.learning.generation import GenerationBatch, Turnable, draw_angles, guidance_for
from reid_core.learning.mixing import Mixture, draw_mixture
from reid_core.learning.timer import Timer
from reid_core.mesh.cache import open_mesh_cache
from stages.stage import HISTORY, Prospect, StageConfig
from stages.training.hardware import HardwareConfig
from stages.training.state import Progress

T = TypeVar("T")

ANGLES = (45, 90, 135, 180, 225, 270, 315)


class GeneratorOptimConfig(StageConfig):
    """Optimisers of generator and discriminator: Adam."""

    lr: float = Field(1e-4, gt=0, le=1, description="Learning rate of S and G (published).")
    discriminator_lr: float = Field(1e-4, gt=0, le=1, description="Learning rate of Dis (published).")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's first decay (published).")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's second decay (published).")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty (published).")
    clip_norm: float = Field(5.0, gt=0, description="Largest norm of the gradient of S and G (ours).")
    discriminator_every: int = Field(1, ge=1, le=1000, description="Iterations from one update of Dis to the next.")

    def adam(self, module: nn.Module, lr: float) -> torch.optim.Adam:
        """Return Adam over a network's parameters."""
        parameters = list(module.parameters())
        return torch.optim.Adam(
            parameters,
            lr=lr,
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
            fused=parameters[0].is_cuda,  # so that nobody waits to know whether a gradient is a number
        )


def check_angles(angles: Sequence[int]) -> None:
    """Refuse rotations that the mesh cache does not hold."""
    unknown = sorted(set(angles) - set(ANGLES))
    if unknown:
        raise UserError(f"rotations are wanted among {list(ANGLES)} degrees, but {unknown} came; leave these out")


def check_split(stage: str, batch_size: int, num_ranks: int, batch_norm_images: int = 0) -> None:
    """Refuse a global batch that does not split over the ranks, or not into groups of batch norm."""
    for name, divisor in (("num_ranks", num_ranks), ("batch_norm_images", batch_norm_images)):
        if divisor and batch_size % divisor:
            raise UserError(
                f"{stage}: a batch of {batch_size} images does not split by {name}={divisor}; choose a divisor"
            )
    if batch_norm_images == 1:
        raise UserError(f"{stage}: batch_norm_images=1 leaves nothing to normalise by; choose 2 or more")


def check_cameras(stage: str, used: Sequence[str], clustering: LabelSettings, prospect: Prospect) -> None:
    """Refuse settings that need cameras which the training images do not name.

    Args:
        stage: Name of the stage.
        used: Its settings by which camera ids have an effect.
        clustering: Its pseudo labels.
        prospect: Of the images.
    """
    if used and not prospect.num_cameras:
        raise UserError(
            f"{stage}.{used[0]} wants the camera of every training image, but the data set does not know it; leave the "
            "setting out, or name cameras as in 0002_c1s1_000451_03.jpg"
        )
    if clustering.min_cameras > max(prospect.num_cameras, 1):
        raise UserError(
            f"{stage}.clustering.min_cameras={clustering.min_cameras} leaves no cluster, because the training images "
            f"come from {prospect.num_cameras} cameras; lower it"
        )


def read_view(data_dir: Path) -> UnlabelledImages:
    """Return the unlabelled training images of a data stage's output."""
    return unlabelled(read_manifest(data_dir / "manifest.parquet"))


class TrainingImages:
    """The unlabelled training images as bytes.

    Attributes:
        view: Image ids, files, cameras and tracklets.
        pixels: uint8, shape (N, 3, H, W); mapped from a file.
        size: H and W.
        cameras: Camera of each image, shape (N,), or None.
    """

    def __init__(self, view: UnlabelledImages, pixels: Tensor) -> None:
        self.view = view
        self.pixels = pixels
        self.size = (int(pixels.shape[2]), int(pixels.shape[3]))
        self.cameras = None if view.cameras is None else torch.tensor(view.cameras)

    def __len__(self) -> int:
        return len(self.view)

    def batch(self, index: Tensor, device: torch.device) -> Tensor:
        """Return images in [-1, 1] on a device, shape (B, 3, H, W)."""
        return as_float(send(self.pixels[index], device))


def read_training_images(data_dir: Path, scratch: Path, device: torch.device) -> TrainingImages:
    """Decode the training images at the size that the manifest names, once; called by every rank.

    All ranks decode a part each into one file, which all of them map: a machine holds the bytes once, however many
    ranks it has, and a training that starts again finds them.

    Args:
        data_dir: Output of the data stage.
        scratch: Folder of this stage's unfinished work, which every node sees.
        device: Of this rank.

    Returns:
        The images, in the order of the manifest.

    Raises:
        UserError: There is no training image, or one cannot be read.
    """
    manifest = read_manifest(data_dir / "manifest.parquet")
    view = unlabelled(manifest)
    if len(view) == 0:
        raise UserError(f"the data set {manifest.info.get('dataset')} has no training image; choose another one")
    height, width = manifest.info["image_size"]
    file, count, size = scratch / "pixels.bin", len(view), (height, width)
    rank, num_ranks = world()
    # Rank 0 alone looks: a network's file system may show the others what was there a while ago.
    if not count_over_ranks(int(rank == 0 and is_whole(file, count, size)), device):
        partial = file.with_suffix(".partial")
        scratch.mkdir(parents=True, exist_ok=True)
        own = range(rank * count // num_ranks, (rank + 1) * count // num_ranks)
        write_decoded(partial, view.paths, own, size, num_threads=max(1, torch.get_num_threads()))
        _wait_for_ranks(device)
        if rank == 0:
            partial.replace(file)
        _wait_for_ranks(device)
    return TrainingImages(view, map_decoded(file, count, size))


def _wait_for_ranks(device: torch.device) -> None:
    count_over_ranks(1, device)


class GuidanceSource:
    """Guidance maps of the training images, read batch by batch.

    Images whose status is not ok have no rotation: their own edges take the place of a body.
    """

    def __init__(self, mesh_dir: Path, image_ids: Sequence[str], data_dir: Path | None = None) -> None:
        wanted = None if data_dir is None else manifest_digest(read_manifest(data_dir / "manifest.parquet"))
        self._cache = open_mesh_cache(mesh_dir / "mesh_cache", manifest=wanted)
        self._ids = tuple(image_ids)
        self.has_mesh = self._cache.available(self._ids)

    def pair(self, index: Tensor, angles: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return g and g_t of a batch.

        Args:
            index: Image positions, shape (B,).
            angles: Degrees of each image's rotation, shape (B,).
            images: The images, for edges where there is no mesh, shape (B, 3, H, W).

        Returns:
            Guidance in [-1, 1], shape (B, 1, H, W) each, on the images' device.
        """
        names = [self._ids[i] for i in index.tolist()]
        unturned, others = self._cache.guidance(names, [[0, angle] for angle in angles.tolist()]).unbind(dim=1)
        has_mesh = self.has_mesh[index]
        still = guidance_for(images, send(unturned, images.device), has_mesh)
        turned = guidance_for(images, send(others, images.device), has_mesh)
        return still, turned

    def all_angles(self, index: Tensor, images: Tensor) -> Tensor:
        """Return guidance for 0 and every rotation, in [-1, 1], shape (B, 8, H, W)."""
        maps = self._cache.guidance([self._ids[i] for i in index.tolist()], [0, *ANGLES]).to(images.device)
        has_mesh = self.has_mesh[index]
        return torch.cat([guidance_for(images, column, has_mesh) for column in maps.unbind(dim=1)], dim=1)

    def for_pictures(self, count: int) -> Tensor:
        """Choose up to ``count`` images, spread over the data, with a mesh where that many have one, shape (count,)."""
        indices = self.has_mesh.nonzero().squeeze(1)
        indices = indices if len(indices) >= count else torch.arange(len(self._ids))
        return indices[torch.linspace(0, len(indices) - 1, min(count, len(indices))).long()]


def varied_batch(
    global_batch: Tensor,
    images: TrainingImages,
    guidance: GuidanceSource,
    *,
    angles: Sequence[int],
    mixing_alpha: float,
    draws: torch.Generator,
    device: torch.device,
) -> GenerationBatch:
    """Draw the variance of a global batch and return this rank's part: the same for every number of ranks.

    Args:
        global_batch: Image positions, shape (B,).
        images: All training images.
        guidance: Their guidance maps.
        angles: Rotations to draw from, in degrees.
        mixing_alpha: Both parameters of the mixing ratio's Beta distribution.
        draws: Source of randomness, in the same state on every rank.
        device: Of this rank.

    Returns:
        What one iteration generates from.
    """
    index = own_slice(global_batch)
    turns = own_slice(draw_angles(len(global_batch), torch.tensor(angles), generator=draws))
    pixels = images.batch(index, device)
    still, turned = guidance.pair(index, turns, pixels)
    mixture = draw_mixture(len(global_batch), alpha=mixing_alpha, generator=draws).own()
    turnable = Turnable.among(guidance.has_mesh[global_batch])
    return GenerationBatch(
        images=pixels,
        guidance=still,
        turned_guidance=turned,
        turnable=Turnable(send(turnable.positions, device), send(turnable.donors, device), turnable.total),
        mixture=Mixture(send(mixture.partner, device), send(mixture.ratio, device)),
    )


def training_batches(
    order: Tensor,
    make: Callable[[Tensor], T],
    draws: torch.Generator,
    *,
    progress: Progress,
    hardware: HardwareConfig,
    device: torch.device,
    timer: Timer,
) -> Iterator[tuple[int, T, Tensor]]:
    """Make the batches of an epoch, or those that are left of an interrupted one.

    Args:
        order: Image positions of each global batch, shape (iterations, B).
        make: Makes this rank's part of a global batch; draws for all of it, so that every rank draws the same.
        draws: What ``make`` draws from; an interrupted epoch goes on where it was.
        progress: Says where the epoch goes on.
        hardware: Says whether batches are made in another thread meanwhile.
        device: Of this rank.
        timer: Counts the waiting as ``data``.

    Yields:
        Number of the iteration, its batch, and the state of the draws after it, for a checkpoint.
    """
    if progress.partial_epoch is not None:
        draws.set_state(progress.partial_epoch["draws"])
    made = ((make(global_batch), draws.get_state()) for global_batch in order[progress.first_iteration :])
    loaded = timer.each("data", hardware.loading(made, device))
    for iteration, (batch, drawn) in enumerate(loaded, progress.first_iteration):
        yield iteration, batch, drawn


def log_epoch(tracker: Tracker, history: list[dict[str, float]], out_dir: Path) -> None:
    """Write ``history.jsonl`` anew and log its last row; on rank 0."""
    (out_dir / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in history))
    row = {name: value for name, value in history[-1].items() if name != "epoch"}
    tracker.log_metrics(row, step=int(history[-1]["epoch"]))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a flat dictionary for people and later stages."""
    path.write_text(json.dumps(dict(content), indent=2, sort_keys=True) + "\n")


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's learning rate: a pure function of the epoch needs no scheduler state."""
    for group in optimiser.param_groups:
        group["lr"] = lr


def embed_training_images(encoder: nn.Module, images: TrainingImages, device: torch.device, batch_size: int) -> Tensor:
    """Embed all training images, split over the ranks.

    Args:
        encoder: On ``device``.
        images: N images.
        device: Of this rank.
        batch_size: Images a forward pass.

    Returns:
        L2-normalised, float32 on the CPU, the same on every rank, shape (N, D).
    """
    rank, size = world()
    own = images.pixels[rank::size]  # a view: nothing is copied
    features = embed(encoder, own, batch_size=batch_size, device=device)
    missing = -(-len(images) // size) - len(own)  # every rank sends the same number; the surplus is cut
    return gather_batch(F.pad(features, (0, 0, 0, missing)).to(device)).cpu()[: len(images)]
