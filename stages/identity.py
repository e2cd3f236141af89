"""Identity warm-up: clusters and momentum prototypes teach an encoder who looks alike (Cluster Contrast)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.errors import UserError
from reid_core.learning.batch_statistics import BatchNormGroups
from reid_core.learning.clock import Clock
from reid_core.learning.distributed import synchronise_buffers
from reid_core.models.identity import IdentityEncoder
from reid_core.models.initial import initialised
from reid_core.models.weights import LoadReport, identity_header, load_pretrained, save_weights
from stages.clustering import start_cluster_workers
from stages.epoch_clusters import cluster_epoch
from stages.identity_config import IdentityConfig
from stages.identity_epoch import Learner, Teachers, kept_teachers, new_teachers, run_epoch
from stages.monitor import LabelledMonitor
from stages.progress import Progress, Stateful
from stages.stage import Stage
from stages.training import (
    TrainingImages,
    check_split,
    embed_training_images,
    log_epoch,
    read_training_images,
    read_view,
    set_learning_rate,
    write_json,
)


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
    images = read_training_images(job.data_dir, out_dir.parent / "scratch", device)
    cameras = _cameras(config, images)

    # Start: the same weights on every rank, and the untrained encoder for comparison.
    encoder = initialised(lambda: IdentityEncoder(config.arch), config.seed, "identity")
    report = load_pretrained(encoder, config.weights)
    if context.rank == 0:
        save_weights(encoder, out_dir / "untrained.safetensors", identity_header(encoder, images.size))
    encoder.to(device)
    groups = BatchNormGroups(encoder, config.batch_size, config.batch_norm_images)
    config.hardware.prepare(encoder)
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=config.lr, weight_decay=config.weight_decay)
    learner = Learner(config, context, images, encoder, optimiser, groups)
    parts: dict[str, Stateful] = {"encoder": encoder, "optimiser": optimiser}
    progress = Progress(context, config.checkpoints, parts, averaged=[encoder])
    monitor = LabelledMonitor(job.data_dir, out_dir / "monitor.jsonl")

    for epoch in progress.epochs(config.num_epochs):
        clock = Clock()
        lr = config.lr * 0.1 ** (epoch // config.lr_step_epochs)
        set_learning_rate(optimiser, lr)
        looks = (epoch + 1) % config.monitor_every == 0 or epoch + 1 == config.num_epochs
        with clock.part("clustering"):
            teachers = _teachers(learner, progress, cameras, out_dir if looks else None)
        log = run_epoch(learner, epoch, teachers, progress, clock)
        synchronise_buffers(encoder)

        # Look, log, checkpoint.
        progress.epoch_done(log.row(epoch, **teachers.numbers, **{"lr/encoder": lr}), teachers.labels)
        if context.rank == 0:
            log_epoch(context.tracker, progress.history, out_dir)
            if looks:
                monitor.log(context.tracker, epoch, encoder, teachers.labels)
        progress.save()

    if context.rank == 0:
        save_weights(encoder, out_dir / "identity.safetensors", identity_header(encoder, images.size))
        _write_summary(config, report, len(images), progress.history, out_dir)


def _teachers(learner: Learner, progress: Progress, cameras: Tensor | None, pictures_in: Path | None) -> Teachers:
    """Cluster by the encoder as it is now, or take up what an interrupted epoch had."""
    config, context, images = learner.config, learner.context, learner.images
    if progress.middle is not None:
        return kept_teachers(config, progress.middle, cameras, context.device)
    features = embed_training_images(learner.encoder, images, context.device, config.embed_batch_size)
    labels, numbers = cluster_epoch(
        features, images, context, config.clustering, previous=progress.labels, pictures_in=pictures_in
    )
    return new_teachers(config, features, labels, numbers, cameras, context.device)


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
