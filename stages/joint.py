"""Joint training: generated variance teaches the encoder, by contrast with a memory of pseudo-labelled rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

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
from stages.epoch_clusters import cluster_numbers, write_cluster_pictures
from stages.generated_pictures import write_pictures
from stages.joint_config import JointConfig
from stages.joint_epoch import Learner, learning_rates, run_epoch
from stages.monitor import LabelledMonitor
from stages.resuming import load_state, save_state
from stages.stage import Stage
from stages.training import (
    GuidanceSource,
    check_angles,
    check_split,
    cluster_features,
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
    images = read_training_images(job.inputs["data"])
    guidance = GuidanceSource(job.inputs["mesh"], images.view.image_ids, job.inputs["data"])

    # Networks, optimisers and memory as the warm-ups left them.
    networks = Networks(
        load_identity(job.inputs["identity"] / "identity.safetensors").to(device),
        load_generator(job.inputs["generator"] / "generator.safetensors").to(device),
        load_discriminator(job.inputs["generator"] / "discriminator.safetensors").to(device),
    )
    groups = BatchNormGroups(networks.encoder, config.batch_size, config.batch_norm_images)
    optimisers = _optimisers(config, networks)
    memory = FeatureMemory(
        _read_memory(job.inputs["cluster"], len(images)).to(device), momentum=config.contrast.memory_momentum
    )
    learner = Learner(config, context, images, guidance, networks, optimisers, memory, groups)
    history: list[dict[str, float]] = []
    previous: Tensor | None = None  # labels of the epoch before
    middle: dict[str, Any] | None = None  # of an epoch that was interrupted
    first_iteration = 0
    if state := load_state(context):
        _restore(state, networks, optimisers)
        memory.rows = state["memory"].to(device)
        history, previous = state["history"], state["labels"]
        middle, first_iteration = state["middle"], state["iteration"]
    monitor = LabelledMonitor(job.inputs["data"], out_dir / "monitor.jsonl")

    def save(epoch: int, iteration: int, middle: dict[str, Any] | None) -> None:
        synchronise_buffers(networks.encoder)
        content = {**_state(networks, optimisers), "memory": memory.rows, "history": history, "labels": previous}
        save_state(context, epoch, iteration, {**content, "middle": middle}, keep=config.checkpoints.keep)

    for epoch in range(len(history), config.num_epochs):
        last = epoch + 1 == config.num_epochs
        shows = last or (epoch + 1) % config.pictures_every == 0
        clock = Clock()

        # Pseudo labels from the memory; outliers sit this epoch out.
        with clock.part("clustering"):
            if middle is None:
                if config.memory_refresh:
                    embedded = embed_training_images(networks.encoder, images, device, config.embed_batch_size)
                    memory.rows = embedded.to(device)
                clustered = F.normalize(memory.rows, dim=1).cpu()
                labels, found = cluster_features(clustered, context, config.clustering, cameras=images.cameras)
                numbers = cluster_numbers(found, None if previous is None else previous.numpy())
                prototypes = cluster_means(memory.rows, labels.to(device))
                if context.rank == 0 and shows:
                    write_cluster_pictures(
                        clustered.numpy(), labels.numpy(), lambda index: images.pixels[index], out_dir, context.tracker
                    )
            else:
                labels, numbers, prototypes = middle["labels"], middle["numbers"], middle["prototypes"].to(device)
        pool = Pool(
            rows=memory.rows,
            labels=labels.to(device),
            prototypes=prototypes,
            cameras=images.cameras.to(device) if config.use_cameras and images.cameras is not None else None,
        )
        constant = {"labels": labels, "numbers": numbers, "prototypes": prototypes}
        log = run_epoch(
            learner,
            epoch,
            pool,
            clock,
            partial(_save_middle, save, epoch, constant),
            first_iteration=first_iteration,
            kept=middle,
        )
        middle, first_iteration = None, 0
        synchronise_buffers(networks.encoder)

        # Look, log, checkpoint.
        rates = {f"lr/{name}": rate for name, rate in learning_rates(config, epoch).items()}
        history.append(log.row(epoch, **numbers, **rates))
        if context.rank == 0:
            write_pseudo_labels(
                out_dir / "pseudo_labels" / f"epoch-{epoch:04d}.parquet", images.view.image_ids, labels.numpy()
            )
            log_epoch(context.tracker, history, out_dir)
            if last or (epoch + 1) % config.monitor_every == 0:
                monitor.log(context.tracker, epoch, networks.encoder, labels)
            if config.generates and shows:
                write_pictures(networks.generator, networks.encoder, images, guidance, out_dir, context.tracker)
        previous = labels
        save(epoch + 1, 0, None)

    if context.rank == 0:
        size = images.size
        save_weights(networks.encoder, out_dir / "identity.safetensors", identity_header(networks.encoder, size))
        save_weights(networks.generator, out_dir / "generator.safetensors", network_header(networks.generator, size))
        save_weights(
            networks.discriminator, out_dir / "discriminator.safetensors", network_header(networks.discriminator, size)
        )
        last_row = history[-1] if history else {}
        summary = {
            "num_images": len(images),
            "num_images_with_mesh": int(guidance.has_mesh.sum()),
            "num_epochs": config.num_epochs,
            "views": config.views,
            "mixing": config.mixing,
            "batch_norm_images": config.batch_norm_images or config.batch_size,
        }
        write_json(out_dir / "summary.json", summary | {k: v for k, v in last_row.items() if k != "epoch"})


def _save_middle(
    save: Callable[[int, int, dict[str, Any] | None], None],
    epoch: int,
    constant: dict[str, Any],
    iteration: int,
    moving: dict[str, Any],
) -> None:
    save(epoch, iteration, constant | moving)


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


def _state(networks: Networks, optimisers: Optimisers) -> dict[str, Any]:
    assert optimisers.encoder is not None
    return {
        "encoder": networks.encoder.state_dict(),
        "generator": networks.generator.state_dict(),
        "discriminator": networks.discriminator.state_dict(),
        "encoder_optimiser": optimisers.encoder.state_dict(),
        "generator_optimiser": optimisers.generator.state_dict(),
        "discriminator_optimiser": optimisers.discriminator.state_dict(),
    }


def _restore(state: Mapping[str, dict[str, object]], networks: Networks, optimisers: Optimisers) -> None:
    assert optimisers.encoder is not None
    networks.encoder.load_state_dict(state["encoder"])
    networks.generator.load_state_dict(state["generator"])
    networks.discriminator.load_state_dict(state["discriminator"])
    optimisers.encoder.load_state_dict(state["encoder_optimiser"])
    optimisers.generator.load_state_dict(state["generator_optimiser"])
    optimisers.discriminator.load_state_dict(state["discriminator_optimiser"])


STAGE = Stage("joint", 2, JointConfig, ("data", "mesh", "identity", "generator", "cluster"), run)
