"""Joint training: generated variance teaches the encoder, by contrast with a memory of pseudo-labelled rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.data.augment import augment
from reid_core.data.sampling import shuffled_batches
from reid_core.errors import UserError
from reid_core.learning.batch_statistics import freeze_batch_norm
from reid_core.learning.contrast import Pool, draw_rows
from reid_core.learning.distributed import gather_rows, own_slice, synchronise_buffers
from reid_core.learning.generation import GenerationBatch
from reid_core.learning.generator_step import GenerationSettings, Networks, Optimisers
from reid_core.learning.guidance import draw_angles
from reid_core.learning.joint_step import ContrastSettings, JointBatch, joint_step
from reid_core.learning.memory import FeatureMemory
from reid_core.learning.mixing import Mixture, draw_mixture
from reid_core.learning.prototypes import cluster_means
from reid_core.models.weights import (
    identity_header,
    load_discriminator,
    load_generator,
    load_identity,
    network_header,
    save_weights,
)
from reid_core.seeds import generator_for
from stages.cluster import read_memory
from stages.clustering import ClusterConfig, start_cluster_workers, write_pseudo_labels
from stages.epoch_clusters import cluster_numbers, write_cluster_pictures
from stages.generated_pictures import write_pictures
from stages.identity import AugmentConfig
from stages.monitor import LabelledMonitor
from stages.stage import Stage, StageConfig
from stages.training import (
    ANGLES,
    EpochLog,
    GenerationWeights,
    GeneratorOptimConfig,
    GuidanceSource,
    Mixing,
    TrainingImages,
    check_angles,
    cluster_features,
    embed_training_images,
    load_state,
    log_epoch,
    read_training_images,
    read_view,
    save_state,
    set_learning_rate,
    write_json,
)


class ContrastConfig(StageConfig):
    """The contrastive losses."""

    rotation_weight: float = Field(1.0, ge=0, le=1000, description="Weight of L_rot (published).")
    mixing_weight: float = Field(1.0, ge=0, le=1000, description="Weight of L_mix (ours; undefined where published).")
    temperature: float = Field(0.04, gt=0, le=10, description="Softmax temperature (published).")
    num_negatives: int = Field(8192, ge=1, description="K: most negative rows of one image (published).")
    memory_momentum: float = Field(0.2, ge=0, lt=1, description="Share of a row that stays at an update (published).")
    swap_background: bool = Field(False, description="Put turned people before other backgrounds (ours).")
    trains_generator: bool = Field(True, description="Whether contrast also trains S and G through its images.")

    def weights_by_term(self) -> dict[str, float]:
        """Return the weight of every contrastive term."""
        return {"rotation_contrast": self.rotation_weight, "mixing_contrast": self.mixing_weight}


class JointConfig(StageConfig):
    """Settings of joint training; defaults as published, or as said."""

    num_epochs: int = Field(20, ge=0, le=1000, description="Epochs (published).")
    batch_size: int = Field(16, ge=2, le=4096, description="Images of a global batch (published).")
    lr: float = Field(3.5e-4, gt=0, le=1, description="Identity encoder's learning rate, SGD (published).")
    sgd_momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum (published).")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="L2 penalty of the encoder (published).")
    lr_step_epochs: int = Field(10, ge=1, le=1000, description="Epochs until all learning rates fall to a tenth.")
    rotation: bool = Field(True, description="Generate rotated views (paper).")
    angles: tuple[int, ...] = Field(ANGLES, min_length=1, description="Rotations drawn, in degrees (paper).")
    mixing: Mixing = Field("dmixup", description="What x_mix is: dmixup (paper), or a comparison.")
    mixing_alpha: float = Field(0.6, gt=0, le=10, description="Both parameters of the ratio's Beta (published).")
    views: Literal["generated", "classical", "both"] = Field(
        "generated", description="Views in L_rot: generated (paper), classical augmentation instead, or both."
    )
    augmentation: AugmentConfig = Field(default_factory=lambda: AugmentConfig(), description="Of classical views.")
    contrast: ContrastConfig = Field(default_factory=lambda: ContrastConfig(), description="Contrastive losses.")
    weights: GenerationWeights = Field(default_factory=lambda: GenerationWeights(), description="Generation losses.")
    optim: GeneratorOptimConfig = Field(default_factory=lambda: GeneratorOptimConfig(), description="Of S, G, Dis.")
    generator_every: int = Field(1, ge=0, le=1000, description="Iterations between generator updates; 0 = never.")
    batch_norm: Literal["train", "frozen"] = Field(
        "train", description="Encoder's batch norm: batch statistics (paper), or the warm-up's running ones."
    )
    memory_refresh: bool = Field(False, description="Embed all images anew before each clustering (ours).")
    clustering: ClusterConfig = Field(default_factory=lambda: ClusterConfig(), description="Pseudo labels.")
    use_cameras: bool = Field(False, description="Draw positives from other cameras where possible.")
    embed_batch_size: int = Field(256, ge=1, le=65536, description="Images a forward pass when embedding.")
    pictures_every: int = Field(1, ge=1, le=1000, description="Epochs from one sheet of pictures to the next.")
    monitor_every: int = Field(1, ge=1, le=1000, description="Epochs from one labelled look to the next; logs only.")
    num_workers: int = Field(1, ge=1, le=1024, description="Training ranks; the global batch is split over them.")
    seed: int = Field(0, ge=0, description="Seed of all random draws.")

    @property
    def needs_generator(self) -> bool:
        """Whether anything is generated at all."""
        return self.views != "classical" or self.mixing in ("dmixup", "fmixup")


@dataclass(frozen=True)
class _Job:
    config: JointConfig
    inputs: dict[str, Path]
    out_dir: Path


def run(config: JointConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Train encoder and generator together; writes all weights and every epoch's pseudo labels."""
    if config.batch_size % config.num_workers:
        raise UserError(
            f"joint: a batch of {config.batch_size} images does not split over num_workers={config.num_workers}; "
            "choose a divisor"
        )
    check_angles(config.angles)
    out_dir.mkdir(parents=True, exist_ok=True)
    workers = start_cluster_workers(compute, config.clustering)
    try:
        compute.train(
            _loop,
            _Job(config, dict(inputs), out_dir),
            num_workers=config.num_workers,
            checkpoint_dir=out_dir.parent / "scratch" / "joint",
            tracker=tracker,
            description="joint training",
            num_images=config.num_epochs * len(read_view(inputs["data"])),
            workers=workers,
        )
    finally:
        workers.stop()


def _loop(context: TrainContext, job: _Job) -> None:
    config, out_dir, device = job.config, job.out_dir, context.device
    images = read_training_images(job.inputs["data"])
    guidance = GuidanceSource(job.inputs["mesh"], images.view.image_ids)

    # Networks, optimisers and memory as the warm-ups left them.
    networks = Networks(
        load_identity(job.inputs["identity"] / "identity.safetensors").to(device),
        load_generator(job.inputs["generator"] / "generator.safetensors").to(device),
        load_discriminator(job.inputs["generator"] / "discriminator.safetensors").to(device),
    )
    optimisers = _optimisers(config, networks)
    memory = FeatureMemory(
        _read_memory(job.inputs["cluster"], len(images)).to(device), momentum=config.contrast.memory_momentum
    )
    history: list[dict[str, float]] = []
    previous: Tensor | None = None  # labels of the epoch before
    if state := load_state(context):
        _restore(state, networks, optimisers)
        memory.rows = state["memory"].to(device)
        history, previous = state["history"], state.get("labels")
    monitor = LabelledMonitor(job.inputs["data"], out_dir / "monitor.jsonl")

    for epoch in range(len(history), config.num_epochs):
        # Pseudo labels from the memory; outliers sit this epoch out.
        if config.memory_refresh:
            memory.rows = embed_training_images(networks.encoder, images, device, config.embed_batch_size).to(device)
        clustered = F.normalize(memory.rows, dim=1).cpu()
        labels, found = cluster_features(clustered, context, config.clustering, cameras=images.cameras)
        pool = Pool(
            rows=memory.rows,
            labels=labels.to(device),
            prototypes=cluster_means(memory.rows, labels.to(device)),
            cameras=images.cameras.to(device) if config.use_cameras and images.cameras is not None else None,
        )
        log = _epoch(context, config, epoch, images, guidance, networks, optimisers, memory, pool)
        synchronise_buffers(networks.encoder)

        # Look, log, checkpoint.
        numbers = cluster_numbers(found, None if previous is None else previous.numpy())
        history.append(log.row(epoch, **numbers))
        previous = labels
        if context.rank == 0:
            write_pseudo_labels(
                out_dir / "pseudo_labels" / f"epoch-{epoch:04d}.parquet", images.view.image_ids, labels.numpy()
            )
            log_epoch(context.tracker, history, out_dir)
            last = epoch + 1 == config.num_epochs
            if last or (epoch + 1) % config.monitor_every == 0:
                monitor.log(context.tracker, epoch, networks.encoder, labels)
            if last or (epoch + 1) % config.pictures_every == 0:
                write_cluster_pictures(
                    clustered.numpy(), found.labels, lambda index: images.pixels[index], out_dir, context.tracker
                )
            if config.needs_generator and (last or (epoch + 1) % config.pictures_every == 0):
                write_pictures(networks.generator, networks.encoder, images, guidance, out_dir, context.tracker)
        save_state(context, epoch, _state(networks, optimisers, memory, history) | {"labels": labels})

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
        }
        write_json(out_dir / "summary.json", summary | {k: v for k, v in last_row.items() if k != "epoch"})


def _epoch(
    context: TrainContext,
    config: JointConfig,
    epoch: int,
    images: TrainingImages,
    guidance: GuidanceSource,
    networks: Networks,
    optimisers: Optimisers,
    memory: FeatureMemory,
    pool: Pool,
) -> EpochLog:
    """Run the batches of one epoch."""
    device = context.device
    falling = 0.1 ** (epoch // config.lr_step_epochs)
    assert optimisers.encoder is not None
    set_learning_rate(optimisers.encoder, config.lr * falling)
    set_learning_rate(optimisers.generator, config.optim.lr * falling)
    set_learning_rate(optimisers.discriminator, config.optim.discriminator_lr * falling)
    for network in (networks.encoder, networks.generator, networks.discriminator):
        network.train()
    if config.batch_norm == "frozen":
        freeze_batch_norm(networks.encoder)
    how = GenerationSettings(
        rotation=config.rotation and config.views != "classical",
        mixing=config.mixing,
        weights=config.weights.by_term(),
        r1_weight=config.weights.r1,
        clip_norm=config.optim.clip_norm,
    )
    contrast = ContrastSettings(
        weights=config.contrast.weights_by_term(),
        temperature=config.contrast.temperature,
        swap_background=config.contrast.swap_background,
        trains_generator=config.contrast.trains_generator,
    )
    inliers = (pool.labels >= 0).nonzero().squeeze(1).cpu()
    batches = shuffled_batches(
        inliers, config.batch_size, generator=generator_for(config.seed, "joint", epoch, "batches")
    )
    draws = generator_for(config.seed, "joint", epoch, "variance", context.rank)
    log = EpochLog()
    for iteration, global_batch in enumerate(batches):
        index = own_slice(global_batch)
        pixels = images.batch(index, device)
        angles = draw_angles(len(index), torch.tensor(config.angles), generator=draws)
        still, turned = guidance.pair(index, angles, pixels)
        mixture = draw_mixture(len(index), alpha=config.mixing_alpha, generator=draws)
        rows = index.to(device)
        source = GenerationBatch(
            images=pixels,
            guidance=still,
            turned=turned,
            has_mesh=guidance.has_mesh[index].to(device),
            mixture=Mixture(mixture.partner.to(device), mixture.ratio.to(device)),
        )
        classical = None
        if config.views != "generated":
            classical = augment(pixels, config.augmentation.strengths(), generator=draws)
        drawn = draw_rows(pool, rows, num_negatives=config.contrast.num_negatives, generator=draws)
        train_generator = config.needs_generator and _turn(iteration, config.generator_every)
        updates = iteration // max(config.generator_every, 1)
        result = joint_step(
            networks,
            optimisers,
            JointBatch(source, classical, rows, pool, drawn),
            how,
            contrast,
            train_generator=train_generator,
            discriminate=train_generator and _turn(updates, config.optim.discriminator_every),
        )
        memory.update(gather_rows(rows), gather_rows(result.features))
        log.add(result.terms, len(global_batch))
        context.advance(len(global_batch), contrast=float(result.terms["rotation_contrast"]))
    context.advance(len(images) - batches.numel())  # outliers and what filled no batch
    return log


def _turn(iteration: int, every: int) -> bool:
    return every > 0 and iteration % every == 0


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


def _state(
    networks: Networks, optimisers: Optimisers, memory: FeatureMemory, history: list[dict[str, float]]
) -> dict[str, object]:
    assert optimisers.encoder is not None
    return {
        "encoder": networks.encoder.state_dict(),
        "generator": networks.generator.state_dict(),
        "discriminator": networks.discriminator.state_dict(),
        "encoder_optimiser": optimisers.encoder.state_dict(),
        "generator_optimiser": optimisers.generator.state_dict(),
        "discriminator_optimiser": optimisers.discriminator.state_dict(),
        "memory": memory.rows,
        "history": history,
    }


def _restore(state: Mapping[str, dict[str, object]], networks: Networks, optimisers: Optimisers) -> None:
    assert optimisers.encoder is not None
    networks.encoder.load_state_dict(state["encoder"])
    networks.generator.load_state_dict(state["generator"])
    networks.discriminator.load_state_dict(state["discriminator"])
    optimisers.encoder.load_state_dict(state["encoder_optimiser"])
    optimisers.generator.load_state_dict(state["generator_optimiser"])
    optimisers.discriminator.load_state_dict(state["discriminator_optimiser"])


STAGE = Stage("joint", 1, JointConfig, ("data", "mesh", "identity", "generator", "cluster"), run)
