"""Identity warm-up: clusters and momentum prototypes teach an encoder who looks alike (Cluster Contrast)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.data.augment import Augmentation, augment
from reid_core.data.sampling import pk_batches
from reid_core.errors import UserError
from reid_core.learning.distributed import own_slice, synchronise_buffers
from reid_core.learning.identity_step import identity_step
from reid_core.learning.prototypes import MomentumPrototypes, cluster_means
from reid_core.models.identity import IdentityEncoder
from reid_core.models.initial import initialised
from reid_core.models.weights import identity_header, load_pretrained, save_weights
from reid_core.seeds import generator_for
from stages.clustering import ClusterConfig, start_cluster_workers
from stages.epoch_clusters import cluster_numbers, write_cluster_pictures
from stages.monitor import LabelledMonitor
from stages.stage import Stage, StageConfig
from stages.training import (
    EpochLog,
    cluster_features,
    embed_training_images,
    load_state,
    log_epoch,
    read_training_images,
    save_state,
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


class IdentityConfig(StageConfig):
    """Settings of the identity warm-up; defaults are Cluster Contrast's for a full-size data set."""

    arch: str = Field("resnet50", description="torchvision ResNet, or resnet10 for two CPU cores (paper: resnet50).")
    weights: str = Field("imagenet", description="none, imagenet, or a checkpoint file of this or another project.")
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
    embed_batch_size: int = Field(256, ge=1, le=65536, description="Images a forward pass when embedding.")
    monitor_every: int = Field(1, ge=1, le=1000, description="Epochs from one labelled look to the next; logs only.")
    num_workers: int = Field(1, ge=1, le=1024, description="Training ranks; the global batch is split over them.")
    seed: int = Field(0, ge=0, description="Seed of all random draws.")


@dataclass(frozen=True)
class _Job:
    config: IdentityConfig
    data_dir: Path
    out_dir: Path


def run(config: IdentityConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Train the encoder without labels; writes ``untrained.safetensors`` and ``identity.safetensors``."""
    batch_size = config.clusters_per_batch * config.images_per_cluster
    if batch_size % config.num_workers:
        raise UserError(
            f"identity: a batch of {batch_size} images does not split over num_workers={config.num_workers}; "
            "choose a divisor"
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    workers = start_cluster_workers(compute, config.clustering)
    try:
        compute.train(
            _loop,
            _Job(config, inputs["data"], out_dir),
            num_workers=config.num_workers,
            checkpoint_dir=out_dir.parent / "scratch" / "identity",
            tracker=tracker,
            description="identity warm-up",
            num_images=config.num_epochs * config.iterations_per_epoch * batch_size,
            workers=workers,
        )
    finally:
        workers.stop()


def _loop(context: TrainContext, job: _Job) -> None:
    config, out_dir, device = job.config, job.out_dir, context.device
    images = read_training_images(job.data_dir)
    header_of = images.size

    # Start: the same weights on every rank, and the untrained encoder for comparison.
    encoder = initialised(lambda: IdentityEncoder(config.arch), config.seed, "identity")
    report = load_pretrained(encoder, config.weights)
    if context.rank == 0:
        save_weights(encoder, out_dir / "untrained.safetensors", identity_header(encoder, header_of))
    encoder.to(device)
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=config.lr, weight_decay=config.weight_decay)
    history: list[dict[str, float]] = []
    previous: Tensor | None = None  # labels of the epoch before
    if state := load_state(context):
        encoder.load_state_dict(state["encoder"])
        optimiser.load_state_dict(state["optimiser"])
        history, previous = state["history"], state.get("labels")
    monitor = LabelledMonitor(job.data_dir, out_dir / "monitor.jsonl")

    for epoch in range(len(history), config.num_epochs):
        # Pseudo labels of the encoder as it is now.
        features = embed_training_images(encoder, images, device, config.embed_batch_size)
        labels, found = cluster_features(features, context, config.clustering, cameras=images.cameras)
        prototypes = MomentumPrototypes(
            cluster_means(features, labels).to(device), momentum=config.momentum, update_by=config.prototype_update
        )
        batches = pk_batches(
            labels,
            num_clusters=config.clusters_per_batch,
            num_images=config.images_per_cluster,
            num_batches=config.iterations_per_epoch,
            generator=generator_for(config.seed, "identity", epoch, "batches"),
            cameras=images.cameras if config.use_cameras else None,
        )

        # One epoch of batches.
        set_learning_rate(optimiser, config.lr * 0.1 ** (epoch // config.lr_step_epochs))
        draws = generator_for(config.seed, "identity", epoch, "augmentation", context.rank)
        encoder.train()
        log = EpochLog()
        for batch in batches:
            index = own_slice(batch)
            shown = augment(images.batch(index, device), config.augmentation.strengths(), generator=draws)
            terms = identity_step(
                encoder, optimiser, prototypes, shown, labels[index].to(device), temperature=config.temperature
            )
            log.add(terms, len(batch))
            context.advance(len(batch), **{name: float(term) for name, term in terms.items()})
        synchronise_buffers(encoder)

        # Look, log, checkpoint.
        numbers = cluster_numbers(found, None if previous is None else previous.numpy())
        history.append(log.row(epoch, **numbers))
        previous = labels
        if context.rank == 0:
            log_epoch(context.tracker, history, out_dir)
            if (epoch + 1) % config.monitor_every == 0 or epoch + 1 == config.num_epochs:
                monitor.log(context.tracker, epoch, encoder, labels)
                write_cluster_pictures(
                    features.numpy(), found.labels, lambda index: images.pixels[index], out_dir, context.tracker
                )
        saved = {"encoder": encoder.state_dict(), "optimiser": optimiser.state_dict(), "history": history}
        saved["labels"] = labels
        save_state(context, epoch, saved)

    if context.rank == 0:
        save_weights(encoder, out_dir / "identity.safetensors", identity_header(encoder, header_of))
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
                "num_clusters": last.get("num_clusters"),
                "num_outliers": last.get("num_outliers"),
                "cluster_contrast": last.get("cluster_contrast"),
            },
        )


STAGE = Stage("identity", 1, IdentityConfig, ("data",), run)
