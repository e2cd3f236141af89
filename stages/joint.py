"""Joint training: generated variance teaches the encoder, by contrast with a memory of pseudo-labelled rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.errors import UserError
from reid_core.learning.batch_statistics import BatchNormGroups
from reid_core.learning.clock import Clock
from reid_core.learning.contrast import Pool
from reid_core.learning.distributed import synchronise_buffers
from reid_core.learning.generator_step import Networks, Optimisers
from reid_core.learning.memory import FeatureMemory
from reid_core.learning.prototypes import cluster_means
from reid_core.models.weights import (
    identity_header,
    load_discriminator,
    load_generator,
    load_identity,
    network_header,
    save_weights,
)
from stages.cluster import read_memory
from stages.clustering import start_cluster_workers, write_pseudo_labels
from stages.epoch_clusters import cluster_epoch
from stages.generated_pictures import write_pictures
from stages.joint_config import JointConfig
from stages.joint_epoch import Learner, learning_rates, run_epoch
from stages.monitor import LabelledMonitor
from stages.progress import Progress, Stateful
from stages.stage import Stage
from stages.training import (
    GuidanceSource,
    check_angles,
    check_split,
    embed_training_images,
    log_epoch,
    read_training_images,
    read_view,
    write_json,
)


@dataclass(frozen=True)
class _Job:
    config: JointConfig
    inputs: dict[str, Path]
    out_dir: Path


def run(config: JointConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Train encoder and generator together; writes all weights and every epoch's pseudo labels."""
    check_split("joint", config.batch_size, config.num_workers, config.batch_norm_images)
    check_angles(config.angles)
    out_dir.mkdir(parents=True, exist_ok=True)
    workers = start_cluster_workers(compute, config.clustering, len(read_view(inputs["data"])))
    try:
        compute.train(
            _loop,
            _Job(config, dict(inputs), out_dir),
            num_workers=config.num_workers,
            checkpoint_dir=out_dir.parent / "scratch" / "joint",
            tracker=tracker,
            description="joint training",
            num_images=config.num_epochs
            * (config.iterations_per_epoch * config.batch_size or len(read_view(inputs["data"]))),
            workers=workers,
        )
    finally:
        workers.stop()


def _loop(context: TrainContext, job: _Job) -> None:
    config, out_dir, device = job.config, job.out_dir, context.device
    images = read_training_images(job.inputs["data"], out_dir.parent / "scratch", device)
    guidance = GuidanceSource(job.inputs["mesh"], images.view.image_ids, job.inputs["data"])

    # Networks, optimisers and memory as the warm-ups left them.
    networks = Networks(
        load_identity(job.inputs["identity"] / "identity.safetensors").to(device),
        load_generator(job.inputs["generator"] / "generator.safetensors").to(device),
        load_discriminator(job.inputs["generator"] / "discriminator.safetensors").to(device),
    )
    groups = BatchNormGroups(networks.encoder, config.batch_size, config.batch_norm_images)
    config.hardware.prepare(networks.encoder, networks.generator, networks.discriminator)
    optimisers = _optimisers(config, networks)
    memory = FeatureMemory(
        _read_memory(job.inputs["cluster"], len(images)).to(device), momentum=config.contrast.memory_momentum
    )
    learner = Learner(config, context, images, guidance, networks, optimisers, memory, groups)
    progress = Progress(context, config.checkpoints, _parts(learner), averaged=[networks.encoder])
    monitor = LabelledMonitor(job.inputs["data"], out_dir / "monitor.jsonl")

    for epoch in progress.epochs(config.num_epochs):
        last = epoch + 1 == config.num_epochs
        shows = last or (epoch + 1) % config.pictures_every == 0
        clock = Clock()
        with clock.part("clustering"):
            pool, numbers = _pool(learner, progress, out_dir if shows else None)
        log = run_epoch(learner, epoch, pool, numbers, progress, clock)
        synchronise_buffers(networks.encoder)

        # Look, log, checkpoint.
        labels = pool.labels.cpu()
        rates = {f"lr/{name}": rate for name, rate in learning_rates(config, epoch).items()}
        progress.epoch_done(log.row(epoch, **numbers, **rates), labels)
        if context.rank == 0:
            write_pseudo_labels(
                out_dir / "pseudo_labels" / f"epoch-{epoch:04d}.parquet", images.view.image_ids, labels.numpy()
            )
            log_epoch(context.tracker, progress.history, out_dir)
            if last or (epoch + 1) % config.monitor_every == 0:
                monitor.log(context.tracker, epoch, networks.encoder, labels)
            if config.generates and shows:
                write_pictures(networks.generator, networks.encoder, images, guidance, out_dir, context.tracker)
        progress.save()

    if context.rank == 0:
        _write_results(learner, progress.history, out_dir)


def _pool(learner: Learner, progress: Progress, pictures_in: Path | None) -> tuple[Pool, Mapping[str, float]]:
    """Cluster the memory, or take up what an interrupted epoch had; outliers sit this epoch out.

    Returns:
        What the epoch's batches are contrasted with, and what is logged of its labels.
    """
    config, context, images, memory = learner.config, learner.context, learner.images, learner.memory
    device = context.device
    if progress.middle is not None:
        labels, numbers, prototypes = (progress.middle[name] for name in ("labels", "numbers", "prototypes"))
    else:
        if config.memory_refresh:
            embedded = embed_training_images(learner.networks.encoder, images, device, config.embed_batch_size)
            memory.rows = embedded.to(device)
        features = F.normalize(memory.rows, dim=1).cpu()
        labels, numbers = cluster_epoch(
            features, images, context, config.clustering, previous=progress.labels, pictures_in=pictures_in
        )
        prototypes = cluster_means(memory.rows, labels.to(device))
    cameras = images.cameras.to(device) if config.use_cameras and images.cameras is not None else None
    return Pool(memory.rows, labels.to(device), prototypes.to(device), cameras), numbers


def _parts(learner: Learner) -> dict[str, Stateful]:
    """Return everything that joint training changes, by name."""
    networks, optimisers = learner.networks, learner.optimisers
    assert optimisers.encoder is not None
    return {
        "encoder": networks.encoder,
        "generator": networks.generator,
        "discriminator": networks.discriminator,
        "encoder_optimiser": optimisers.encoder,
        "generator_optimiser": optimisers.generator,
        "discriminator_optimiser": optimisers.discriminator,
        "memory": learner.memory,
    }


def _write_results(learner: Learner, history: list[dict[str, float]], out_dir: Path) -> None:
    config, networks, size = learner.config, learner.networks, learner.images.size
    save_weights(networks.encoder, out_dir / "identity.safetensors", identity_header(networks.encoder, size))
    for name, network in (("generator", networks.generator), ("discriminator", networks.discriminator)):
        save_weights(network, out_dir / f"{name}.safetensors", network_header(network, size))
    last_row = history[-1] if history else {}
    summary = {
        "num_images": len(learner.images),
        "num_images_with_mesh": int(learner.guidance.has_mesh.sum()),
        "num_epochs": config.num_epochs,
        "views": config.views,
        "mixing": config.mixing,
        "batch_norm_images": config.batch_norm_images or config.batch_size,
    }
    write_json(out_dir / "summary.json", summary | {k: v for k, v in last_row.items() if k != "epoch"})


def _optimisers(config: JointConfig, networks: Networks) -> Optimisers:
    trained = [parameter for parameter in networks.encoder.parameters() if parameter.requires_grad]
    sgd = torch.optim.SGD(
        trained,
        lr=config.lr,
        momentum=config.sgd_momentum,
        nesterov=config.sgd_momentum > 0,
        weight_decay=config.weight_decay,
    )
    optim = config.optim
    return Optimisers(
        sgd, optim.adam(networks.generator, optim.lr), optim.adam(networks.discriminator, optim.discriminator_lr)
    )


def _read_memory(cluster_dir: Path, num_images: int) -> Tensor:
    memory = torch.from_numpy(read_memory(cluster_dir))
    if len(memory) != num_images:
        raise UserError(
            f"the memory in {cluster_dir} has {len(memory)} rows for {num_images} training images; "
            "run the cluster stage again"
        )
    return memory


STAGE = Stage("joint", 2, JointConfig, ("data", "mesh", "identity", "generator", "cluster"), run)
