"""Joint training: generated variance teaches the encoder, by contrast with a memory of pseudo-labelled images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.data.augment import Augmentation, augment, draw_augmentation
from reid_core.data.sampling import shuffled_batches
from reid_core.data.transfer import send
from reid_core.distributed import gather_batch, own_rows, own_slice, synchronise_buffers
from reid_core.errors import UserError
from reid_core.learning.generated_encoder import GeneratedEncoder, freeze_batch_norm
from reid_core.learning.generator_step import GenerationSettings, GenerationWeights, Networks, Optimisers
from reid_core.learning.joint_step import ContrastSettings, JointBatch, joint_step
from reid_core.learning.memory import EpochTargets, FeatureMemory, cluster_means, draw_negatives, draw_positives
from reid_core.learning.mixing import MixingKind
from reid_core.learning.timer import Timer
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
from stages.stage import MONITOR, Encoder, Prospect, ResultNeutral, Stage, StageConfig
from stages.training.clustering import ClusterConfig, cluster_epoch, start_cluster_workers, write_pseudo_labels
from stages.training.conditions import read_conditions, write_conditions
from stages.training.data import (
    ANGLES,
    GeneratorOptimConfig,
    GuidanceSource,
    TrainingImages,
    check_angles,
    check_cameras,
    check_split,
    embed_training_images,
    log_epoch,
    read_training_images,
    read_view,
    set_learning_rate,
    training_batches,
    varied_batch,
    write_json,
)
from stages.training.hardware import HardwareConfig
from stages.training.log import EpochLog
from stages.training.monitor import LabelledMonitor
from stages.training.pictures import write_pictures
from stages.training.state import CheckpointConfig, Progress, Stateful


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
    mixing: MixingKind = Field("dmixup", description="What x_mix is: dmixup (paper), or a comparison.")
    mixing_alpha: float = Field(0.6, gt=0, le=10, description="Both parameters of the ratio's Beta (published).")
    views: Literal["generated", "classical", "both"] = Field(
        "generated", description="Views in L_rot: generated (paper), classical augmentation instead, or both."
    )
    augmentation: Augmentation = Field(Augmentation(), description="Of classical views.")
    contrast: ContrastSettings = Field(ContrastSettings(), description="Contrastive losses.")
    weights: GenerationWeights = Field(GenerationWeights(), description="Generation losses.")
    optim: GeneratorOptimConfig = Field(GeneratorOptimConfig(), description="Of S, G, Dis.")
    generator_every: int = Field(1, ge=0, le=1000, description="Iterations between generator updates; 0 = never.")
    batch_norm: Literal["train", "frozen"] = Field(
        "train", description="Encoder's batch norm: batch statistics (paper), or the warm-up's running ones."
    )
    memory_refresh: bool = Field(False, description="Embed all images anew before each clustering (ours).")
    clustering: ClusterConfig = Field(ClusterConfig(), description="Pseudo labels.")
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
    hardware: HardwareConfig = Field(HardwareConfig(), description="How the device is used.")
    checkpoints: Annotated[CheckpointConfig, ResultNeutral()] = Field(CheckpointConfig(), description="For restarts.")
    num_ranks: Annotated[int, ResultNeutral()] = Field(
        1, ge=1, le=1024, description="Training ranks; the global batch is split over them."
    )
    seed: int = Field(0, ge=0, description="Seed of all random draws.")

    def camera_ids(self) -> list[str]:
        """Return the settings by which camera ids reach the encoder."""
        return ["use_cameras"] * self.use_cameras + [f"clustering.{name}" for name in self.clustering.camera_ids()]

    @property
    def generates(self) -> bool:
        """Whether anything is generated at all."""
        return self.views != "classical" or self.mixing in ("dmixup", "fmixup")

    def generation(self) -> GenerationSettings:
        """Return how batches are varied, and what their generation weighs."""
        rotation = self.rotation and self.views != "classical"
        return GenerationSettings(rotation, self.mixing, self.weights, self.optim.clip_norm)

    def learning_rates(self, epoch: int) -> dict[str, float]:
        """Return each network's learning rate: all of them fall to a tenth every ``lr_step_epochs``."""
        falling = 0.1 ** (epoch // self.lr_step_epochs)
        rates = {"encoder": self.lr, "generator": self.optim.lr, "discriminator": self.optim.discriminator_lr}
        return {name: rate * falling for name, rate in rates.items()}

    def updates_generator(self, iteration: int) -> bool:
        """Tell whether S and G are trained in an iteration of an epoch, from 0."""
        return self.generates and self.generator_every > 0 and iteration % self.generator_every == 0

    def updates_discriminator(self, iteration: int) -> bool:
        """Tell whether Dis is trained in an iteration: in every so-many-th of those that train S and G."""
        if not self.updates_generator(iteration):
            return False
        return iteration // self.generator_every % self.optim.discriminator_every == 0


def check(configs: Mapping[str, Any], prospect: Prospect) -> None:
    """Refuse batches that do not split, rotations without maps, and cameras that nobody knows."""
    config: JointConfig = configs["joint"]
    check_split("joint", config.batch_size, config.num_ranks, config.batch_norm_images)
    check_angles(config.angles)
    check_cameras("joint", config.camera_ids(), config.clustering, prospect)


def run(config: JointConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Train encoder and generator together; writes all weights and every epoch's pseudo labels."""
    check_split("joint", config.batch_size, config.num_ranks, config.batch_norm_images)
    check_angles(config.angles)
    out_dir.mkdir(parents=True, exist_ok=True)
    num_images = len(read_view(inputs["data"]))
    workers = start_cluster_workers(compute, config.clustering, num_images)
    try:
        compute.train(
            _train,
            _Job(config, dict(inputs), out_dir),
            num_ranks=config.num_ranks,
            checkpoint_dir=out_dir.parent / "scratch" / "joint",
            tracker=tracker,
            description="joint training",
            num_images=config.num_epochs * (config.iterations_per_epoch * config.batch_size or num_images),
            workers=workers,
        )
    finally:
        workers.stop()


@dataclass(frozen=True)
class _Job:
    config: JointConfig
    inputs: dict[str, Path]
    out_dir: Path


@dataclass(frozen=True)
class _Learner:
    """What joint training changes, and what it reads."""

    config: JointConfig
    context: TrainContext
    images: TrainingImages
    guidance: GuidanceSource
    networks: Networks
    optimisers: Optimisers
    encoder: GeneratedEncoder  # the networks' encoder, with its batch norm
    memory: FeatureMemory


def _train(context: TrainContext, job: _Job) -> None:
    """Train on one rank."""
    config, out_dir, device = job.config, job.out_dir, context.device
    images = read_training_images(job.inputs["data"], out_dir.parent / "scratch", device)
    guidance = GuidanceSource(job.inputs["mesh"], images.view.image_ids, job.inputs["data"])

    # Networks, optimisers and memory as the warm-ups left them.
    networks = Networks(
        load_identity(job.inputs["identity"] / IDENTITY_FILE).to(device),
        load_generator(job.inputs["generator"] / "generator.safetensors").to(device),
        load_discriminator(job.inputs["generator"] / "discriminator.safetensors").to(device),
    )
    encoder = GeneratedEncoder(networks.encoder, config.batch_size, config.batch_norm_images)
    config.hardware.prepare(networks.encoder, networks.generator, networks.discriminator)
    optimisers = _optimisers(config, networks)
    memory = FeatureMemory(
        _read_memory(job.inputs["cluster"], len(images)).to(device), momentum=config.contrast.memory_momentum
    )
    learner = _Learner(config, context, images, guidance, networks, optimisers, encoder, memory)
    assert optimisers.encoder is not None
    changed: dict[str, Stateful] = {
        "encoder": networks.encoder,
        "generator": networks.generator,
        "discriminator": networks.discriminator,
        "encoder_optimiser": optimisers.encoder,
        "generator_optimiser": optimisers.generator,
        "discriminator_optimiser": optimisers.discriminator,
        "memory": memory,
    }
    progress = Progress(context, config.checkpoints, changed, averaged=[networks.encoder])
    monitor = LabelledMonitor(job.inputs["data"], out_dir / MONITOR)

    for epoch in progress.epochs(config.num_epochs):
        last = epoch + 1 == config.num_epochs
        shows = last or (epoch + 1) % config.pictures_every == 0
        timer = Timer(device)
        with timer.span("clustering"):
            targets, numbers = _targets(learner, progress, out_dir if shows else None)
        log = _train_epoch(learner, epoch, targets, numbers, progress, timer)
        synchronise_buffers(networks.encoder)

        # Look, log, checkpoint.
        labels = targets.labels.cpu()
        rates = {f"lr/{name}": rate for name, rate in config.learning_rates(epoch).items()}
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


def _targets(
    learner: _Learner, progress: Progress, pictures_in: Path | None
) -> tuple[EpochTargets, Mapping[str, float]]:
    """Cluster the memory, or take up what an interrupted epoch had; outliers sit this epoch out.

    Returns:
        Labels and prototypes for the epoch's batches, and what is logged of the labels.
    """
    config, context, images, memory = learner.config, learner.context, learner.images, learner.memory
    device = context.device
    if progress.partial_epoch is not None:
        labels, numbers, prototypes = (progress.partial_epoch[name] for name in ("labels", "numbers", "prototypes"))
    else:
        if config.memory_refresh:
            embedded = embed_training_images(learner.networks.encoder, images, device, config.embed_batch_size)
            memory.features = embedded.to(device)
        features = F.normalize(memory.features, dim=1).cpu()
        labels, numbers = cluster_epoch(
            features, images, context, config.clustering, previous=progress.labels, pictures_in=pictures_in
        )
        prototypes = cluster_means(memory.features, labels.to(device))
    cameras = images.cameras.to(device) if config.use_cameras and images.cameras is not None else None
    return EpochTargets(labels.to(device), prototypes.to(device), cameras), numbers


def _train_epoch(
    learner: _Learner,
    epoch: int,
    targets: EpochTargets,
    numbers: Mapping[str, float],
    progress: Progress,
    timer: Timer,
) -> EpochLog:
    """Run the batches of one epoch, or the rest of them.

    Args:
        learner: Updated in place.
        epoch: From 0.
        targets: Labels and prototypes of the epoch.
        numbers: What is logged of the labels.
        progress: Says where the epoch goes on, and saves.
        timer: Counts where the time goes.

    Returns:
        The epoch's log.
    """
    config, context, memory = learner.config, learner.context, learner.memory
    _set_modes_and_rates(learner, epoch)
    order = shuffled_batches(
        (targets.labels >= 0).nonzero().squeeze(1).cpu(),
        config.batch_size,
        generator=generator_for(config.seed, "joint", epoch, "batches"),
        num_batches=config.iterations_per_epoch or None,
    )
    draws = generator_for(config.seed, "joint", epoch, "variance", 0)
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
        result = joint_step(
            learner.networks,
            learner.optimisers,
            learner.encoder,
            batch,
            memory,
            targets,
            config.generation(),
            config.contrast,
            train_generator=config.updates_generator(iteration),
            discriminate=config.updates_discriminator(iteration),
            timer=timer,
        )
        memory.update(gather_batch(batch.indices), gather_batch(result.features), skip=result.skipped)
        step = result.step
        log.add(step.terms, config.batch_size, norms=step.gradient_norms, skipped=step.skipped)
        context.advance(config.batch_size, **log.newest(contrast="rotation_contrast"))
        if progress.due(iteration, len(order)):
            same = {"labels": targets.labels, "numbers": dict(numbers), "prototypes": targets.prototypes}
            progress.save_within(iteration, {"draws": drawn, "log": log.state(), **same})
    # The bar also passes outliers, and what filled no batch.
    context.advance(0 if config.iterations_per_epoch else len(learner.images) - order.numel())
    return log


def _set_modes_and_rates(learner: _Learner, epoch: int) -> None:
    networks, optimisers = learner.networks, learner.optimisers
    for network in (networks.encoder, networks.generator, networks.discriminator):
        network.train()
    if learner.config.batch_norm == "frozen":
        freeze_batch_norm(networks.encoder)
    rates = learner.config.learning_rates(epoch)
    assert optimisers.encoder is not None
    set_learning_rate(optimisers.encoder, rates["encoder"])
    set_learning_rate(optimisers.generator, rates["generator"])
    set_learning_rate(optimisers.discriminator, rates["discriminator"])


def _batch(learner: _Learner, global_batch: Tensor, targets: EpochTargets, draws: torch.Generator) -> JointBatch:
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
        drawn = draw_augmentation(len(global_batch), config.augmentation, generator=draws).of(own_rows())
        classical = augment(source.images, config.augmentation, drawn)
    indices, most = send(global_batch, device), config.contrast.num_negatives
    positives = draw_positives(targets.labels, indices, generator=draws, cameras=targets.cameras)
    negatives = draw_negatives(targets.labels, indices, most=most, generator=draws)
    return JointBatch(source, classical, own_slice(indices), own_slice(positives), own_slice(negatives))


def _optimisers(config: JointConfig, networks: Networks) -> Optimisers:
    trained = [parameter for parameter in networks.encoder.parameters() if parameter.requires_grad]
    sgd = torch.optim.SGD(
        trained,
        lr=config.lr,
        momentum=config.sgd_momentum,
        nesterov=config.sgd_momentum > 0,
        weight_decay=config.weight_decay,
        fused=trained[0].is_cuda,
    )
    if config.sgd_momentum > 0:
        # Torch's fused step leaves them without a value where the very first update is skipped.
        for parameter in trained:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
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


def _write_results(learner: _Learner, history: list[dict[str, float]], out_dir: Path) -> None:
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


STAGE = Stage(
    name="joint",
    version=2,
    config=JointConfig,
    needs=("data", "mesh", "identity", "generator", "cluster"),
    run=run,
    does="encoder and generator learn together from generated views",
    encoders=(Encoder("joint", "joint training", IDENTITY_FILE),),
    pseudo_labels="end of joint training",
    check=check,
)
