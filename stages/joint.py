"""Settings of joint training.

One epoch of joint training: its learning rates, its batches, and what each of them is contrasted with.

Joint training: generated variance teaches the encoder, by contrast with a memory of pseudo-labelled rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.data.augment import augment, draw_augmentation
from reid_core.data.sampling import shuffled_batches
from reid_core.data.transfer import send
from reid_core.distributed import gather_batch, own_rows, own_slice, synchronise_buffers
from reid_core.errors import UserError
from reid_core.learning.generated_encoder import BatchNormGroups, freeze_batch_norm
from reid_core.learning.generator_step import GenerationSettings, Networks, Optimisers
from reid_core.learning.joint_step import ContrastSettings, EncoderPasses, JointBatch, joint_step
from reid_core.learning.memory import FeatureMemory, cluster_means
from reid_core.learning.timer import Timer
from reid_core.losses.contrastive import Pool, draw_rows
from reid_core.models.weights import (
    IDENTITY_FILE,
    identity_header,
    load_discriminator,
    load_generator,
    load_identity,
    network_header,
    save_weights,
)
from reid_core.seeds import generator_for
from stages.cluster import read_memory
from stages.identity import AugmentConfig
from stages.stage import MONITOR, Encoder, ResultNeutral, Stage, StageConfig
from stages.training.clustering import ClusterConfig, cluster_epoch, start_cluster_workers, write_pseudo_labels
from stages.training.conditions import read_conditions, write_conditions
from stages.training.data import (
    ANGLES,
    GenerationWeights,
    GeneratorOptimConfig,
    GuidanceSource,
    Mixing,
    TrainingImages,
    check_angles,
    check_split,
    embed_training_images,
    log_epoch,
    read_training_images,
    read_view,
    set_learning_rate,
    varied_batch,
    write_json,
)
from stages.training.hardware import HardwareConfig
from stages.training.log import EpochLog
from stages.training.monitor import LabelledMonitor
from stages.training.pictures import write_pictures
from stages.training.state import CheckpointConfig, Progress, Stateful


class ContrastConfig(StageConfig):
    """The contrastive losses."""

    rotation_weight: float = Field(1.0, ge=0, le=1000, description="Weight of L_rot (published).")
    mixing_weight: float = Field(1.0, ge=0, le=1000, description="Weight of L_mix (ours; undefined where published).")
    temperature: float = Field(0.04, gt=0, le=10, description="Softmax temperature (published).")
    num_negatives: int = Field(8192, ge=1, description="K: most negative rows of one image (published).")
    memory_momentum: float = Field(0.2, ge=0, lt=1, description="Share of a row that stays at an update (published).")
    swap_background: bool = Field(False, description="Put turned people before other backgrounds (ours).")
    trains_generator: bool = Field(True, description="Whether contrast also trains S and G through its images.")
    encoder_passes: EncoderPasses = Field(
        "by_kind",
        description="Generated images that pass the encoder as one batch: by_kind (each kind once, by itself), by_loss "
        "(more work) or together (one pass); other batch statistics (ours).",
    )

    def weights_by_term(self) -> dict[str, float]:
        """Return the weight of every contrastive term."""
        return {"rotation_contrast": self.rotation_weight, "mixing_contrast": self.mixing_weight}


class JointConfig(StageConfig):
    """Settings of joint training; defaults as published, or as said."""

    num_epochs: int = Field(20, ge=0, le=1000, description="Epochs (published).")
    iterations_per_epoch: int = Field(
        0, ge=0, le=10**6, description="Batches of an epoch; 0 = as many as its clustered images fill (published)."
    )
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
    pictures_every: Annotated[int, ResultNeutral(display=True)] = Field(
        1, ge=1, le=1000, description="Epochs from one sheet of pictures to the next."
    )
    monitor_every: Annotated[int, ResultNeutral(display=True)] = Field(
        1, ge=1, le=1000, description="Epochs from one labelled look to the next; logs only."
    )
    batch_norm_images: int = Field(
        0, ge=0, le=65536, description="Real images that are normalised together, a divisor of the batch; 0 = all."
    )
    hardware: HardwareConfig = Field(default_factory=lambda: HardwareConfig(), description="How the device is used.")
    checkpoints: Annotated[CheckpointConfig, ResultNeutral()] = Field(
        default_factory=lambda: CheckpointConfig(), description="For restarts."
    )
    num_ranks: Annotated[int, ResultNeutral()] = Field(
        1, ge=1, le=1024, description="Training ranks; the global batch is split over them."
    )
    seed: int = Field(0, ge=0, description="Seed of all random draws.")

    @property
    def images_per_epoch(self) -> int:
        """Images of an epoch where that is fixed, else 0."""
        return self.iterations_per_epoch * self.batch_size

    def camera_ids(self) -> list[str]:
        """Return the settings by which camera ids reach the encoder."""
        return ["use_cameras"] * self.use_cameras + [f"clustering.{name}" for name in self.clustering.camera_ids()]

    @property
    def generates(self) -> bool:
        """Whether anything is generated at all."""
        return self.views != "classical" or self.mixing in ("dmixup", "fmixup")


@dataclass(frozen=True)
class Learner:
    """What joint training changes, and what it reads.

    Attributes:
        config: Settings.
        context: Of this rank.
        images: Training images.
        guidance: Their guidance maps.
        networks: All three.
        optimisers: Of all three.
        memory: Rows of the training images.
        groups: Of the encoder's batch norm.
    """

    config: JointConfig
    context: TrainContext
    images: TrainingImages
    guidance: GuidanceSource
    networks: Networks
    optimisers: Optimisers
    memory: FeatureMemory
    groups: BatchNormGroups


def run_epoch(
    learner: Learner,
    epoch: int,
    pool: Pool,
    numbers: Mapping[str, float],
    progress: Progress,
    timer: Timer,
) -> EpochLog:
    """Run the batches of one epoch, or the rest of them.

    Args:
        learner: Updated in place.
        epoch: From 0.
        pool: Memory, labels and prototypes of the epoch.
        numbers: What is logged of the pool's labels.
        progress: Says where the epoch goes on, and saves.
        timer: Counts where the time goes.

    Returns:
        The epoch's log.
    """
    config, context, images, networks = learner.config, learner.context, learner.images, learner.networks
    _set_learning_rates(learner, epoch)
    _set_modes(networks, config)
    how, contrast = _settings(config)
    inliers = (pool.labels >= 0).nonzero().squeeze(1).cpu()
    order = shuffled_batches(
        inliers,
        config.batch_size,
        generator=generator_for(config.seed, "joint", epoch, "batches"),
        num_batches=config.iterations_per_epoch or None,
    )
    draws = generator_for(config.seed, "joint", epoch, "variance", 0)
    kept = progress.partial_epoch
    if kept is not None:
        draws.set_state(kept["draws"])
    log = EpochLog(timer, None if kept is None else kept["log"])
    constant = {"labels": pool.labels, "numbers": dict(numbers), "prototypes": pool.prototypes}
    batches = _batches(learner, order[progress.first_iteration :], pool, draws)
    loaded = config.hardware.loading(batches, learner.context.device)
    for iteration, (batch, drawn) in enumerate(timer.each("data", loaded), progress.first_iteration):
        train_generator = config.generates and _turn(iteration, config.generator_every)
        updates = iteration // max(config.generator_every, 1)
        result = joint_step(
            networks,
            learner.optimisers,
            batch,
            how,
            contrast,
            train_generator=train_generator,
            discriminate=train_generator and _turn(updates, config.optim.discriminator_every),
            groups=learner.groups,
            timer=timer,
        )
        if result.features is not None:
            learner.memory.update(gather_batch(batch.rows), gather_batch(result.features))
        step = result.step
        log.add(step.terms, config.batch_size, norms=step.gradient_norms, skipped=step.skipped)
        context.advance(config.batch_size, contrast=float(step.terms["rotation_contrast"]))
        progress.iteration_done(iteration, len(order), {"draws": drawn, "log": log.state(), **constant})
    context.advance(
        0 if config.iterations_per_epoch else len(images) - order.numel()
    )  # outliers and what filled no batch
    return log


def learning_rates(config: JointConfig, epoch: int) -> dict[str, float]:
    """Return each network's learning rate: all of them fall to a tenth every ``lr_step_epochs``."""
    falling = 0.1 ** (epoch // config.lr_step_epochs)
    rates = {"encoder": config.lr, "generator": config.optim.lr, "discriminator": config.optim.discriminator_lr}
    return {name: rate * falling for name, rate in rates.items()}


def _batches(
    learner: Learner, order: Tensor, pool: Pool, draws: torch.Generator
) -> Iterator[tuple[JointBatch, Tensor]]:
    """Yield this rank's part of each global batch, and the state of the random draws after it."""
    for global_batch in order:
        yield _batch(learner, global_batch, pool, draws), draws.get_state()


def _batch(learner: Learner, global_batch: Tensor, pool: Pool, draws: torch.Generator) -> JointBatch:
    """Draw everything for the global batch, in the same order on every rank, and return this rank's part."""
    config, device = learner.config, learner.context.device
    source = varied_batch(
        global_batch,
        learner.images,
        learner.guidance,
        angles=config.angles,
        mixing_alpha=config.mixing_alpha,
        draws=draws,
        device=device,
    )
    classical = None
    if config.views != "generated":
        strengths = config.augmentation.strengths()
        drawn = draw_augmentation(len(global_batch), strengths, generator=draws).of(own_rows())
        classical = augment(source.images, strengths, drawn)
    contrasted = draw_rows(
        pool, send(global_batch, device), num_negatives=config.contrast.num_negatives, generator=draws
    ).own()
    return JointBatch(source, classical, send(own_slice(global_batch), device), pool, contrasted)


def _settings(config: JointConfig) -> tuple[GenerationSettings, ContrastSettings]:
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
        encoder_passes=config.contrast.encoder_passes,
    )
    return how, contrast


def _set_learning_rates(learner: Learner, epoch: int) -> None:
    rates, optimisers = learning_rates(learner.config, epoch), learner.optimisers
    assert optimisers.encoder is not None
    set_learning_rate(optimisers.encoder, rates["encoder"])
    set_learning_rate(optimisers.generator, rates["generator"])
    set_learning_rate(optimisers.discriminator, rates["discriminator"])


def _set_modes(networks: Networks, config: JointConfig) -> None:
    for network in (networks.encoder, networks.generator, networks.discriminator):
        network.train()
    if config.batch_norm == "frozen":
        freeze_batch_norm(networks.encoder)


def _turn(iteration: int, every: int) -> bool:
    return every > 0 and iteration % every == 0


@dataclass(frozen=True)
class _Job:
    config: JointConfig
    inputs: dict[str, Path]
    out_dir: Path


def run(config: JointConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Train encoder and generator together; writes all weights and every epoch's pseudo labels."""
    check_split("joint", config.batch_size, config.num_ranks, config.batch_norm_images)
    check_angles(config.angles)
    out_dir.mkdir(parents=True, exist_ok=True)
    workers = start_cluster_workers(compute, config.clustering, len(read_view(inputs["data"])))
    try:
        compute.train(
            _loop,
            _Job(config, dict(inputs), out_dir),
            num_ranks=config.num_ranks,
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
    monitor = LabelledMonitor(job.inputs["data"], out_dir / MONITOR)

    for epoch in progress.epochs(config.num_epochs):
        last = epoch + 1 == config.num_epochs
        shows = last or (epoch + 1) % config.pictures_every == 0
        timer = Timer()
        with timer.part("clustering"):
            pool, numbers = _pool(learner, progress, out_dir if shows else None)
        log = run_epoch(learner, epoch, pool, numbers, progress, timer)
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
        cameras_used = config.camera_ids() if images.cameras is not None else []
        warm = read_conditions(job.inputs["generator"])["generator"]
        write_conditions(out_dir, {"joint": warm.trained("joint", config.seed, config.num_epochs, cameras_used)})


def _pool(learner: Learner, progress: Progress, pictures_in: Path | None) -> tuple[Pool, Mapping[str, float]]:
    """Cluster the memory, or take up what an interrupted epoch had; outliers sit this epoch out.

    Returns:
        What the epoch's batches are contrasted with, and what is logged of its labels.
    """
    config, context, images, memory = learner.config, learner.context, learner.images, learner.memory
    device = context.device
    if progress.partial_epoch is not None:
        labels, numbers, prototypes = (progress.partial_epoch[name] for name in ("labels", "numbers", "prototypes"))
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
    save_weights(networks.encoder, out_dir / IDENTITY_FILE, identity_header(networks.encoder, size))
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


STAGE = Stage(
    name="joint",
    version=2,
    config=JointConfig,
    needs=("data", "mesh", "identity", "generator", "cluster"),
    run=run,
    does="encoder and generator learn together from generated views",
    encoders=(Encoder("joint", "joint training", IDENTITY_FILE),),
    pseudo_labels="end of joint training",
)
