"""Identity warm-up: clusters and momentum prototypes teach an encoder who looks alike (Cluster Contrast)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.data.augment import Augmentation, augment, draw_augmentation
from reid_core.data.sampling import pk_batches
from reid_core.errors import UserError
from reid_core.learning.batch_statistics import BatchNormGroups
from reid_core.learning.cameras import ProxyLayout, lay_out_proxies, proxy_means
from reid_core.learning.clock import Clock
from reid_core.learning.distributed import own_rows, own_slice, synchronise_buffers
from reid_core.learning.identity_step import CameraContrast, identity_step
from reid_core.learning.prototypes import MomentumPrototypes, PrototypeUpdate, cluster_means
from reid_core.models.identity import IdentityEncoder
from reid_core.models.initial import initialised
from reid_core.models.weights import identity_header, load_pretrained, save_weights
from reid_core.seeds import generator_for
from stages.clustering import ClusterConfig, start_cluster_workers
from stages.epoch_clusters import cluster_numbers, write_cluster_pictures
from stages.epoch_log import EpochLog
from stages.monitor import LabelledMonitor
from stages.resuming import CheckpointConfig, load_state, save_state
from stages.stage import Stage, StageConfig
from stages.training import (
    TrainingImages,
    check_split,
    cluster_features,
    embed_training_images,
    log_epoch,
    read_training_images,
    read_view,
    set_learning_rate,
    write_json,
)


class AugmentConfig(StageConfig):
    """Classical augmentation."""

    flip_probability: float = Field(0.5, ge=0, le=1, description="Probability of a mirror image (Cluster Contrast).")
    pad: int = Field(10, ge=0, le=64, description="Pixels padded on every side before cropping (Cluster Contrast).")
    erase_probability: float = Field(0.5, ge=0, le=1, description="Probability of an erased rectangle (same).")
    jitter: float = Field(0.0, ge=0, le=0.9, description="Half range of colour changes; 0 = off (ours).")

    def strengths(self) -> Augmentation:
        """Return the strengths as the augmentation takes them."""
        return Augmentation(self.flip_probability, self.pad, self.erase_probability, self.jitter)


class CameraConfig(StageConfig):
    """Contrast with one proxy for each cluster and camera; needs camera ids."""

    weight: float = Field(0.0, ge=0, le=1000, description="Weight of both camera terms; 0 = off (CAP: 0.5 and 1).")
    temperature: float = Field(0.07, gt=0, le=10, description="Softmax temperature of the camera terms (CAP).")
    num_negatives: int = Field(50, ge=1, description="Nearest proxies of other clusters, across cameras (CAP).")


class IdentityConfig(StageConfig):
    """Settings of the identity warm-up; defaults are Cluster Contrast's for a full-size data set."""

    arch: str = Field("resnet50", description="torchvision ResNet, resnet10 or efficientnet_lite0 (paper: resnet50).")
    weights: str = Field("imagenet", description="none, imagenet, offline (efficientnet_lite0), or a checkpoint file.")
    num_epochs: int = Field(50, ge=0, le=1000, description="Epochs; 0 keeps the loaded weights (Cluster Contrast).")
    iterations_per_epoch: int = Field(400, ge=1, le=100000, description="Batches an epoch (Cluster Contrast).")
    clusters_per_batch: int = Field(16, ge=1, le=1024, description="P: clusters in a global batch (same).")
    images_per_cluster: int = Field(16, ge=1, le=1024, description="K: images of each cluster in a batch (same).")
    lr: float = Field(3.5e-4, gt=0, le=1, description="Adam's learning rate (Cluster Contrast).")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty (Cluster Contrast).")
    lr_step_epochs: int = Field(20, ge=1, le=1000, description="Epochs until the learning rate falls to a tenth.")
    temperature: float = Field(0.05, gt=0, le=10, description="Softmax temperature (Cluster Contrast).")
    momentum: float = Field(0.1, ge=0, lt=1, description="Share of a prototype that stays at an update (same).")
    prototype_update: Literal["hardest", "mean"] = Field("hardest", description="What moves a prototype (same).")
    augmentation: AugmentConfig = Field(default_factory=lambda: AugmentConfig(), description="Classical augmentation.")
    clustering: ClusterConfig = Field(default_factory=lambda: ClusterConfig(), description="Pseudo labels.")
    use_cameras: bool = Field(False, description="Draw a cluster's images from different cameras where possible.")
    cameras: CameraConfig = Field(default_factory=lambda: CameraConfig(), description="Camera-aware contrast.")
    batch_norm_images: int = Field(
        0, ge=0, le=65536, description="Images that are normalised together, a divisor of the global batch; 0 = all."
    )
    embed_batch_size: int = Field(256, ge=1, le=65536, description="Images a forward pass when embedding.")
    monitor_every: int = Field(1, ge=1, le=1000, description="Epochs from one labelled look to the next; logs only.")
    checkpoints: CheckpointConfig = Field(default_factory=lambda: CheckpointConfig(), description="For restarts.")
    num_workers: int = Field(1, ge=1, le=1024, description="Training ranks; the global batch is split over them.")
    seed: int = Field(0, ge=0, description="Seed of all random draws.")

    @property
    def batch_size(self) -> int:
        """Images of a global batch."""
        return self.clusters_per_batch * self.images_per_cluster


@dataclass(frozen=True)
class _Job:
    config: IdentityConfig
    data_dir: Path
    out_dir: Path


def run(config: IdentityConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Train the encoder without labels; writes ``untrained.safetensors`` and ``identity.safetensors``."""
    check_split("identity", config.batch_size, config.num_workers, config.batch_norm_images)
    out_dir.mkdir(parents=True, exist_ok=True)
    workers = start_cluster_workers(compute, config.clustering, len(read_view(inputs["data"])))
    try:
        compute.train(
            _loop,
            _Job(config, inputs["data"], out_dir),
            num_workers=config.num_workers,
            checkpoint_dir=out_dir.parent / "scratch" / "identity",
            tracker=tracker,
            description="identity warm-up",
            num_images=config.num_epochs * config.iterations_per_epoch * config.batch_size,
            workers=workers,
        )
    finally:
        workers.stop()


def _loop(context: TrainContext, job: _Job) -> None:
    config, out_dir, device = job.config, job.out_dir, context.device
    images = read_training_images(job.data_dir)
    cameras = _cameras(config, images)

    # Start: the same weights on every rank, and the untrained encoder for comparison.
    encoder = initialised(lambda: IdentityEncoder(config.arch), config.seed, "identity")
    report = load_pretrained(encoder, config.weights)
    if context.rank == 0:
        save_weights(encoder, out_dir / "untrained.safetensors", identity_header(encoder, images.size))
    encoder.to(device)
    groups = BatchNormGroups(encoder, config.batch_size, config.batch_norm_images)
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=config.lr, weight_decay=config.weight_decay)
    history: list[dict[str, float]] = []
    previous: Tensor | None = None  # labels of the epoch before
    middle: dict[str, Any] | None = None  # of an epoch that was interrupted
    first_iteration = 0
    if state := load_state(context):
        encoder.load_state_dict(state["encoder"])
        optimiser.load_state_dict(state["optimiser"])
        history, previous = state["history"], state["labels"]
        middle, first_iteration = state["middle"], state["iteration"]
    monitor = LabelledMonitor(job.data_dir, out_dir / "monitor.jsonl")

    def save(epoch: int, iteration: int, middle: dict[str, Any] | None) -> None:
        synchronise_buffers(encoder)
        networks = {"encoder": encoder.state_dict(), "optimiser": optimiser.state_dict()}
        content = {**networks, "history": history, "labels": previous, "middle": middle}
        save_state(context, epoch, iteration, content, keep=config.checkpoints.keep)

    for epoch in range(len(history), config.num_epochs):
        clock = Clock()
        lr = config.lr * 0.1 ** (epoch // config.lr_step_epochs)
        set_learning_rate(optimiser, lr)
        looks = (epoch + 1) % config.monitor_every == 0 or epoch + 1 == config.num_epochs

        # Pseudo labels of the encoder as it is now, and the proxies that stand for them.
        with clock.part("clustering"):
            if middle is None:
                features = embed_training_images(encoder, images, device, config.embed_batch_size)
                labels, found = cluster_features(features, context, config.clustering, cameras=images.cameras)
                numbers = cluster_numbers(found, None if previous is None else previous.numpy())
                teachers = _teachers(config, features, labels, cameras, device)
                if context.rank == 0 and looks:
                    write_cluster_pictures(
                        features.numpy(), found.labels, lambda index: images.pixels[index], out_dir, context.tracker
                    )
            else:
                labels, numbers = middle["labels"], middle["numbers"]
                teachers = _teachers(config, None, labels, cameras, device, kept=middle)
        batches = pk_batches(
            labels,
            num_clusters=config.clusters_per_batch,
            num_images=config.images_per_cluster,
            num_batches=config.iterations_per_epoch,
            generator=generator_for(config.seed, "identity", epoch, "batches"),
            cameras=images.cameras if config.use_cameras else None,
        )

        # One epoch of batches.
        draws = generator_for(config.seed, "identity", epoch, "augmentation", 0)
        if middle is not None:
            draws.set_state(middle["draws"])
        strengths = config.augmentation.strengths()
        encoder.train()
        log = EpochLog(clock, None if middle is None else middle["log"])
        middle = None
        for iteration in range(first_iteration, len(batches)):
            batch = batches[iteration]
            with clock.part("data"):
                index = own_slice(batch)
                drawn = draw_augmentation(len(batch), strengths, generator=draws).of(own_rows())
                shown = augment(images.batch(index, device), strengths, drawn)
            with clock.part("encoder"), groups.of(torch.arange(len(index), device=device)):
                terms, outcome = identity_step(
                    encoder,
                    optimiser,
                    teachers.prototypes,
                    shown,
                    labels[index].to(device),
                    temperature=config.temperature,
                    cameras=teachers.cameras,
                    proxies=None if teachers.proxies is None else teachers.proxies[index].to(device),
                )
            log.add(terms, len(batch), norms=outcome.gradient_norms, skipped=int(outcome.skipped))
            context.advance(len(batch), contrast=float(terms["cluster_contrast"]))
            if config.checkpoints.due(iteration, len(batches)):
                so_far = {"labels": labels, "numbers": numbers, "draws": draws.get_state(), "log": log.state()}
                save(epoch, iteration + 1, so_far | teachers.state())
        first_iteration = 0
        synchronise_buffers(encoder)

        # Look, log, checkpoint.
        history.append(log.row(epoch, **numbers, **{"lr/encoder": lr}))
        if context.rank == 0:
            log_epoch(context.tracker, history, out_dir)
            if looks:
                monitor.log(context.tracker, epoch, encoder, labels)
        previous = labels
        save(epoch + 1, 0, None)

    if context.rank == 0:
        save_weights(encoder, out_dir / "identity.safetensors", identity_header(encoder, images.size))
        last = history[-1] if history else {}
        write_json(
            out_dir / "summary.json",
            {
                "arch": config.arch,
                "weights": config.weights,
                "weights_matched": len(report.matched),
                "weights_skipped": len(report.skipped),
                "num_images": len(images),
                "num_epochs": config.num_epochs,
                "batch_norm_images": config.batch_norm_images or config.batch_size,
                "num_clusters": last.get("num_clusters"),
                "num_outliers": last.get("num_outliers"),
                "cluster_contrast": last.get("cluster_contrast"),
            },
        )


@dataclass(frozen=True)
class _Teachers:
    """What an epoch's batches are contrasted with."""

    prototypes: MomentumPrototypes
    cameras: CameraContrast | None
    proxies: Tensor | None  # proxy of each training image

    def state(self) -> dict[str, Tensor | None]:
        """Return what a continued epoch needs."""
        rows = None if self.cameras is None else self.cameras.proxies.rows
        return {"prototypes": self.prototypes.rows, "proxies": rows}


def _teachers(
    config: IdentityConfig,
    features: Tensor | None,
    labels: Tensor,
    cameras: Tensor | None,
    device: torch.device,
    *,
    kept: Mapping[str, Tensor] | None = None,
) -> _Teachers:
    """Make prototypes (and proxies) of features, or take up those of an interrupted epoch."""

    def prototypes(rows: Tensor, update_by: PrototypeUpdate) -> MomentumPrototypes:
        return MomentumPrototypes(rows.to(device), momentum=config.momentum, update_by=update_by)

    rows = kept["prototypes"] if features is None and kept is not None else cluster_means(_given(features), labels)
    if cameras is None:
        return _Teachers(prototypes(rows, config.prototype_update), None, None)
    layout = lay_out_proxies(labels, cameras)
    proxies = kept["proxies"] if features is None and kept is not None else proxy_means(_given(features), layout)
    contrast = CameraContrast(
        # A person under one camera is a handful of images: their mean is steadier than the hardest of them.
        proxies=prototypes(proxies, "mean"),
        layout=ProxyLayout(*(column.to(device) for column in layout)),
        weight=config.cameras.weight,
        temperature=config.cameras.temperature,
        num_negatives=config.cameras.num_negatives,
    )
    return _Teachers(prototypes(rows, config.prototype_update), contrast, layout.of_image)


def _given(features: Tensor | None) -> Tensor:
    assert features is not None, "an epoch starts from features or from what was kept of it"
    return features


def _cameras(config: IdentityConfig, images: TrainingImages) -> Tensor | None:
    if config.cameras.weight == 0:
        return None
    if images.cameras is None:
        raise UserError(
            f"identity.cameras.weight={config.cameras.weight:g} needs camera ids, but the data set has none; "
            "set it to 0"
        )
    return images.cameras


STAGE = Stage("identity", 2, IdentityConfig, ("data",), run)
