"""Identity warm-up: clusters and momentum prototypes teach an encoder who looks alike (Cluster Contrast)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.data.augment import Augmentation, augment, draw_augmentation
from reid_core.data.manifest import content_digests
from reid_core.data.sampling import pk_batches
from reid_core.data.transfer import send
from reid_core.distributed import own_rows, own_slice, synchronise_buffers
from reid_core.errors import UserError
from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.identity_step import CameraContrast, CameraSettings, identity_step
from reid_core.learning.memory import (
    MomentumPrototypes,
    PrototypeUpdate,
    ProxyLayout,
    cluster_means,
    lay_out_proxies,
    proxy_means,
)
from reid_core.learning.timer import Timer
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import (
    IDENTITY_FILE,
    LoadReport,
    check_pretrained,
    identity_header,
    load_pretrained,
    save_weights,
)
from reid_core.seeds import generator_for, initialised
from stages.stage import MONITOR, Encoder, Prospect, ResultNeutral, Stage, StageConfig
from stages.training.clustering import ClusterConfig, cluster_epoch, start_cluster_workers
from stages.training.conditions import untrained, write_conditions
from stages.training.data import (
    TrainingImages,
    check_cameras,
    check_split,
    embed_training_images,
    log_epoch,
    read_training_images,
    read_view,
    set_learning_rate,
    training_batches,
    write_json,
)
from stages.training.hardware import HardwareConfig
from stages.training.log import EpochLog
from stages.training.monitor import LabelledMonitor
from stages.training.state import CheckpointConfig, Progress, Stateful


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
    prototype_update: PrototypeUpdate = Field("hardest", description="What moves a prototype (same).")
    augmentation: Augmentation = Field(Augmentation(), description="Classical augmentation.")
    clustering: ClusterConfig = Field(ClusterConfig(), description="Pseudo labels.")
    use_cameras: bool = Field(False, description="Draw a cluster's images from different cameras where possible.")
    cameras: CameraSettings = Field(CameraSettings(), description="Camera-aware contrast.")
    batch_norm_images: int = Field(
        0, ge=0, le=65536, description="Images that are normalised together, a divisor of the global batch; 0 = all."
    )
    embed_batch_size: int = Field(256, ge=1, le=65536, description="Images a forward pass when embedding.")
    monitor_every: Annotated[int, ResultNeutral(display=True)] = Field(
        1, ge=1, le=1000, description="Epochs from one labelled look to the next; logs only."
    )
    hardware: HardwareConfig = Field(HardwareConfig(), description="How the device is used.")
    checkpoints: Annotated[CheckpointConfig, ResultNeutral()] = Field(CheckpointConfig(), description="For restarts.")
    num_ranks: Annotated[int, ResultNeutral()] = Field(
        1, ge=1, le=1024, description="Training ranks; the global batch is split over them."
    )
    seed: int = Field(0, ge=0, description="Seed of all random draws.")

    @property
    def batch_size(self) -> int:
        """Images of a global batch."""
        return self.clusters_per_batch * self.images_per_cluster

    def camera_ids(self) -> list[str]:
        """Return the settings by which camera ids reach the encoder."""
        used = ["cameras.weight"] * (self.cameras.weight > 0) + ["use_cameras"] * self.use_cameras
        return used + [f"clustering.{name}" for name in self.clustering.camera_ids()]


def check(configs: Mapping[str, Any], prospect: Prospect) -> None:
    """Refuse batches that do not split, cameras that nobody knows, and weights that do not fit."""
    config: IdentityConfig = configs["identity"]
    check_split("identity", config.batch_size, config.num_ranks, config.batch_norm_images)
    check_cameras("identity", config.camera_ids(), config.clustering, prospect)
    check_pretrained(config.arch, config.weights)


def content_digest(config: IdentityConfig) -> str | None:
    """Return a short name of the content of a checkpoint file, or None where the weights are none."""
    path = Path(config.weights)
    return content_digests([path])[0] if path.is_file() else None


def run(config: IdentityConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Train the encoder without labels; writes ``untrained.safetensors`` and ``identity.safetensors``."""
    check_split("identity", config.batch_size, config.num_ranks, config.batch_norm_images)
    out_dir.mkdir(parents=True, exist_ok=True)
    workers = start_cluster_workers(compute, config.clustering, len(read_view(inputs["data"])))
    try:
        compute.train(
            _train,
            _Job(config, inputs["data"], out_dir),
            num_ranks=config.num_ranks,
            checkpoint_dir=out_dir.parent / "scratch" / "identity",
            tracker=tracker,
            description="identity warm-up",
            num_images=config.num_epochs * config.iterations_per_epoch * config.batch_size,
            workers=workers,
        )
    finally:
        workers.stop()


@dataclass(frozen=True)
class _Job:
    config: IdentityConfig
    data_dir: Path
    out_dir: Path


@dataclass(frozen=True)
class _Learner:
    """What the warm-up changes, and what it reads."""

    config: IdentityConfig
    context: TrainContext
    images: TrainingImages
    cameras: Tensor | None  # of each image, where cameras are contrasted
    encoder: GeneratedEncoder
    optimiser: Optimizer


def _train(context: TrainContext, job: _Job) -> None:
    """Train on one rank."""
    config, out_dir, device = job.config, job.out_dir, context.device
    images = read_training_images(job.data_dir, out_dir.parent / "scratch", device)
    cameras = _cameras(config, images)

    # Start: the same weights on every rank, and the untrained encoder for comparison.
    network = initialised(lambda: IdentityEncoder(config.arch), config.seed, "identity")
    report = load_pretrained(network, config.weights)
    if context.rank == 0:
        save_weights(network, out_dir / "untrained.safetensors", identity_header(network, images.size))
    network.to(device)
    encoder = GeneratedEncoder(network, config.batch_size, config.batch_norm_images)
    config.hardware.prepare(network)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=config.lr, weight_decay=config.weight_decay, fused=device.type == "cuda")
    learner = _Learner(config, context, images, cameras, encoder, optimiser)
    changed: dict[str, Stateful] = {"encoder": network, "optimiser": optimiser}
    progress = Progress(context, config.checkpoints, changed, averaged=[network])
    monitor = LabelledMonitor(job.data_dir, out_dir / MONITOR)

    for epoch in progress.epochs(config.num_epochs):
        timer = Timer(device)
        lr = config.lr * 0.1 ** (epoch // config.lr_step_epochs)
        set_learning_rate(optimiser, lr)
        looks = (epoch + 1) % config.monitor_every == 0 or epoch + 1 == config.num_epochs
        with timer.span("clustering"):
            targets = _targets(learner, progress, out_dir if looks else None)
        log = _train_epoch(learner, epoch, targets, progress, timer)
        synchronise_buffers(network)

        # Look, log, checkpoint.
        progress.epoch_done(log.row(epoch, **targets.numbers, **{"lr/encoder": lr}), targets.labels)
        if context.rank == 0:
            log_epoch(context.tracker, progress.history, out_dir)
            if looks:
                monitor.log(context.tracker, epoch, network, targets.labels)
        progress.save()

    if context.rank == 0:
        save_weights(network, out_dir / IDENTITY_FILE, identity_header(network, images.size))
        _write_summary(config, report, len(images), progress.history, out_dir)
        loaded = untrained(job.data_dir, weights=config.weights, seed=config.seed)
        cameras_used = config.camera_ids() if images.cameras is not None else []
        trained_here = loaded.trained("identity", config.seed, config.num_epochs, cameras_used)
        write_conditions(out_dir, {"untrained": loaded, "identity": trained_here})


@dataclass(frozen=True)
class WarmUpTargets:
    """What an epoch's batches are contrasted with.

    Attributes:
        labels: Pseudo label of each training image, -1 for an outlier, on the CPU, shape (N,).
        numbers: What is logged of them.
        prototypes: One a cluster; every batch moves them.
        cameras: Contrast with one proxy for each cluster and camera, or None.
        proxies: Proxy of each training image, shape (N,), or None.
    """

    labels: Tensor
    numbers: Mapping[str, float]
    prototypes: MomentumPrototypes
    cameras: CameraContrast | None
    proxies: Tensor | None

    def state(self) -> dict[str, Any]:
        """Return what ``restored_targets`` makes the same targets of."""
        return {
            "labels": self.labels,
            "numbers": dict(self.numbers),
            "prototypes": self.prototypes.features,
            "proxies": None if self.cameras is None else self.cameras.proxies.features,
        }


def _targets(learner: _Learner, progress: Progress, pictures_in: Path | None) -> WarmUpTargets:
    """Cluster by the encoder as it is now, or take up what an interrupted epoch had."""
    config, context, images = learner.config, learner.context, learner.images
    if progress.partial_epoch is not None:
        return restored_targets(config, progress.partial_epoch, learner.cameras, context.device)
    features = embed_training_images(learner.encoder.network, images, context.device, config.embed_batch_size)
    labels, numbers = cluster_epoch(
        features, images, context, config.clustering, previous=progress.labels, pictures_in=pictures_in
    )
    return new_targets(config, features, labels, numbers, learner.cameras, context.device)


def new_targets(
    config: IdentityConfig,
    features: Tensor,
    labels: Tensor,
    numbers: Mapping[str, float],
    cameras: Tensor | None,
    device: torch.device,
) -> WarmUpTargets:
    """Make an epoch's prototypes, and proxies where cameras are contrasted.

    Args:
        config: Settings.
        features: Of all training images, L2-normalised, shape (N, D).
        labels: Their pseudo labels, shape (N,).
        numbers: What is logged of the labels.
        cameras: Their cameras, shape (N,), or None to leave cameras alone.
        device: Of this rank.

    Returns:
        What the epoch's batches are contrasted with.
    """
    proxies = None if cameras is None else proxy_means(features, lay_out_proxies(labels, cameras))
    state = {"labels": labels, "numbers": numbers, "prototypes": cluster_means(features, labels), "proxies": proxies}
    return restored_targets(config, state, cameras, device)


def restored_targets(
    config: IdentityConfig, state: Mapping[str, Any], cameras: Tensor | None, device: torch.device
) -> WarmUpTargets:
    """Take up the targets of an interrupted epoch.

    Args:
        config: Settings.
        state: What ``WarmUpTargets.state`` returned.
        cameras: As for ``new_targets``.
        device: Of this rank.

    Returns:
        The same targets.
    """

    def prototypes(features: Tensor, update_by: PrototypeUpdate) -> MomentumPrototypes:
        return MomentumPrototypes(features.to(device), momentum=config.momentum, update_by=update_by)

    labels, numbers = state["labels"], state["numbers"]
    clusters = prototypes(state["prototypes"], config.prototype_update)
    if cameras is None:
        return WarmUpTargets(labels, numbers, clusters, None, None)
    layout = lay_out_proxies(labels, cameras)
    contrast = CameraContrast(
        # A person under one camera is a handful of images: their mean is steadier than the hardest of them.
        proxies=prototypes(state["proxies"], "mean"),
        layout=ProxyLayout(*(column.to(device) for column in layout)),
        settings=config.cameras,
    )
    return WarmUpTargets(labels, numbers, clusters, contrast, layout.of_image)


def _train_epoch(learner: _Learner, epoch: int, targets: WarmUpTargets, progress: Progress, timer: Timer) -> EpochLog:
    """Run the batches of one epoch, or the rest of them.

    Args:
        learner: Updated in place.
        epoch: From 0.
        targets: Updated in place.
        progress: Says where the epoch goes on, and saves.
        timer: Counts where the time goes.

    Returns:
        The epoch's log.
    """
    config, context = learner.config, learner.context
    learner.encoder.network.train()
    order = pk_batches(
        targets.labels,
        num_clusters=config.clusters_per_batch,
        num_images=config.images_per_cluster,
        num_batches=config.iterations_per_epoch,
        generator=generator_for(config.seed, "identity", epoch, "batches"),
        cameras=learner.images.cameras if config.use_cameras else None,
    )
    draws = generator_for(config.seed, "identity", epoch, "augmentation", 0)
    log = EpochLog(timer, progress.partial_epoch and progress.partial_epoch["log"])
    for iteration, batch, drawn in training_batches(
        order,
        lambda global_batch: _batch(learner, global_batch, targets, draws),
        draws,
        progress=progress,
        hardware=config.hardware,
        device=context.device,
        timer=timer,
    ):
        with timer.span("encoder"):
            terms, outcome = identity_step(
                learner.encoder,
                learner.optimiser,
                targets.prototypes,
                batch.images,
                batch.labels,
                temperature=config.temperature,
                cameras=targets.cameras,
                proxies=batch.proxies,
            )
        log.add(terms, config.batch_size, norms=outcome.gradient_norms, skipped=outcome.skipped)
        context.advance(config.batch_size, **log.newest(contrast="cluster_contrast"))
        if progress.due(iteration, len(order)):
            progress.save_within(iteration, {"draws": drawn, "log": log.state(), **targets.state()})
    return log


class _Batch(NamedTuple):
    images: Tensor  # augmented
    labels: Tensor
    proxies: Tensor | None


def _batch(learner: _Learner, global_batch: Tensor, targets: WarmUpTargets, draws: torch.Generator) -> _Batch:
    """Draw everything for the global batch, and return this rank's part."""
    strengths, device = learner.config.augmentation, learner.context.device
    index = own_slice(global_batch)
    drawn = draw_augmentation(len(global_batch), strengths, generator=draws).of(own_rows())
    return _Batch(
        images=augment(learner.images.batch(index, device), strengths, drawn),
        labels=send(targets.labels[index], device),
        proxies=None if targets.proxies is None else send(targets.proxies[index], device),
    )


def _cameras(config: IdentityConfig, images: TrainingImages) -> Tensor | None:
    if config.cameras.weight == 0:
        return None
    if images.cameras is None:
        raise UserError(
            f"identity.cameras.weight={config.cameras.weight:g} needs camera ids, but the data set has none; "
            "set it to 0"
        )
    return images.cameras


def _write_summary(
    config: IdentityConfig, report: LoadReport, num_images: int, history: list[dict[str, float]], out_dir: Path
) -> None:
    last = history[-1] if history else {}
    write_json(
        out_dir / "summary.json",
        {
            "arch": config.arch,
            "weights": config.weights,
            "weights_matched": len(report.matched),
            "weights_skipped": len(report.skipped),
            "num_images": num_images,
            "num_epochs": config.num_epochs,
            "batch_norm_images": config.batch_norm_images or config.batch_size,
            **{name: last.get(name) for name in ("num_clusters", "num_outliers", "cluster_contrast")},
        },
    )


STAGE = Stage(
    name="identity",
    version=2,
    config=IdentityConfig,
    needs=("data",),
    run=run,
    does="first encoder, without labels: clusters and contrast",
    encoders=(
        Encoder("untrained", "untrained encoder", "untrained.safetensors"),
        Encoder("identity", "identity warm-up", IDENTITY_FILE),
    ),
    check=check,
    content=content_digest,
    reads=lambda config: [weights] if (weights := Path(config.weights)).is_file() else [],
)
