"""Generator warm-up: the identity encoder is frozen; S, G and Dis learn to paint people onto bodies."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from reid_core.data.sampling import shuffled_batches
from reid_core.errors import UserError
from reid_core.evaluation.colour_probe import colour_probe
from reid_core.learning.generator_step import (
    GenerationSettings,
    GenerationWeights,
    Networks,
    Optimisers,
    generator_step,
)
from reid_core.learning.mixing import MixingKind
from reid_core.learning.timer import Timer
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator, StructureNorm
from reid_core.models.identity import PaintedFrom, map_channels, painted_maps
from reid_core.models.weights import load_identity, network_header, save_weights
from reid_core.seeds import generator_for, initialised
from stages.stage import Prospect, ResultNeutral, Stage, StageConfig
from stages.training.conditions import read_conditions, write_conditions
from stages.training.data import (
    ANGLES,
    GeneratorOptimConfig,
    GuidanceSource,
    TrainingImages,
    check_angles,
    check_split,
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
from stages.training.pictures import write_pictures
from stages.training.state import CheckpointConfig, Progress, Stateful

_LOG = logging.getLogger(__name__)
# Of the learning rate, at the end of a falling schedule.
_LAST_LR_SHARE = 0.02
# Images whose colours are read out of their appearance; from fewer, a read-out says nothing.
_MOST_READ, _FEWEST_READ = 512, 50
# Share of the colours that appearance should hold: the generator painted rightly from 0.71 and more, and one outfit for
# many people from 0.45 and less.
_ENOUGH_COLOUR = 0.6


class GeneratorConfig(StageConfig):
    """Settings of the generator warm-up; defaults as published, or as said."""

    channels: int = Field(128, ge=8, le=1024, description="Channels of S and G at a quarter of the size (ours).")
    num_blocks: int = Field(4, ge=1, le=32, description="Residual blocks of S (ours).")
    num_parts: int = Field(4, ge=1, le=16, description="P: horizontal stripes of appearance (paper).")
    painted_from: PaintedFrom = Field(
        "last",
        description="Maps of the encoder that appearance is pooled from: the last (paper), or the two early ones at a "
        "quarter and an eighth of the size (ours), which keep colours whatever the encoder was trained for.",
    )
    structure_norm: StructureNorm = Field(
        "instance", description="Norm of S; instance as in the paper, none keeps the silhouette in a narrow network."
    )
    discriminator_channels: int = Field(64, ge=4, le=1024, description="Channels of Dis's first layer (ours).")
    discriminator_layers: int = Field(3, ge=1, le=5, description="Halvings in each scale of Dis (ours).")
    rotation: bool = Field(True, description="Generate rotated people and turn them back (paper).")
    angles: tuple[int, ...] = Field(ANGLES, min_length=1, description="Rotations drawn, in degrees (paper).")
    mixing: MixingKind = Field("dmixup", description="What x_mix is; generated mixes also train against Dis (paper).")
    mixing_alpha: float = Field(0.6, gt=0, le=10, description="Both parameters of the ratio's Beta (published).")
    num_epochs: int = Field(40, ge=1, le=1000, description="Epochs (published).")
    batch_size: int = Field(16, ge=2, le=4096, description="Images of a global batch (published).")
    rotation_from_epoch: int = Field(
        0, ge=0, le=1000, description="First epoch that turns people and back; cheap epochs come before (paper: 0)."
    )
    adversarial_from_epoch: int = Field(0, ge=0, le=1000, description="First epoch with Dis and L_adv (paper: 0).")
    weights: GenerationWeights = Field(GenerationWeights(), description="Losses' weights.")
    lr_schedule: Literal["constant", "linear"] = Field(
        "constant",
        description="Learning rate of S and G: constant (published), or falling to a fiftieth over the second half "
        "(ours), which brings colours nearer to the truth.",
    )
    optim: GeneratorOptimConfig = Field(GeneratorOptimConfig(), description="Optimisers.")
    pictures_every: Annotated[int, ResultNeutral(display=True)] = Field(
        1, ge=1, le=1000, description="Epochs from one sheet of pictures to the next."
    )
    hardware: HardwareConfig = Field(HardwareConfig(), description="How the device is used.")
    checkpoints: Annotated[CheckpointConfig, ResultNeutral()] = Field(CheckpointConfig(), description="For restarts.")
    num_ranks: Annotated[int, ResultNeutral()] = Field(
        1, ge=1, le=1024, description="Training ranks; the global batch is split over them."
    )
    seed: int = Field(0, ge=0, description="Seed of all random draws.")

    def learning_rate(self, done: float) -> float:
        """Return the learning rate of S and G after a share of the training, from 0 to 1."""
        falling = 1.0 if self.lr_schedule == "constant" else max(min(1.0, 2 * (1 - done)), _LAST_LR_SHARE)
        return self.optim.lr * falling

    def generation(self, epoch: int) -> GenerationSettings:
        """Return how batches are varied in an epoch, and what their generation weighs."""
        rotation = self.rotation and epoch >= self.rotation_from_epoch
        mixing = self.mixing if self.adversarial(epoch) else "none"  # only the discriminator looks at mixes here
        return GenerationSettings(rotation, mixing, self.weights, self.optim.clip_norm)

    def adversarial(self, epoch: int) -> bool:
        """Tell whether Dis and L_adv take part in an epoch."""
        return epoch >= self.adversarial_from_epoch and self.weights.adversarial > 0


@dataclass(frozen=True)
class _Job:
    config: GeneratorConfig
    data_dir: Path
    mesh_dir: Path
    identity_dir: Path
    out_dir: Path


def check(configs: Mapping[str, Any], prospect: Prospect) -> None:
    """Refuse batches that do not split, rotations without maps, and networks that do not fit encoder or images."""
    config: GeneratorConfig = configs["generator"]
    check_split("generator", config.batch_size, config.num_ranks)
    check_angles(config.angles)
    painted_maps(map_channels(configs["identity"].arch), config.painted_from)
    if min(prospect.image_size) < 2**config.discriminator_layers:
        raise UserError(
            f"images of {prospect.image_size[0]} x {prospect.image_size[1]} pixels are too small for "
            f"generator.discriminator_layers={config.discriminator_layers}, each of which halves them; lower it"
        )


def run(config: GeneratorConfig, inputs: Mapping[str, Path], out_dir: Path, compute: Compute, tracker: Tracker) -> None:
    """Train S, G and Dis; writes ``generator.safetensors``, ``discriminator.safetensors`` and pictures."""
    check_split("generator", config.batch_size, config.num_ranks)
    check_angles(config.angles)
    out_dir.mkdir(parents=True, exist_ok=True)
    num_images = len(read_view(inputs["data"]))
    compute.train(
        _train,
        _Job(config, inputs["data"], inputs["mesh"], inputs["identity"], out_dir),
        num_ranks=config.num_ranks,
        checkpoint_dir=out_dir.parent / "scratch" / "generator",
        tracker=tracker,
        description="generator warm-up",
        num_images=config.num_epochs * max(num_images // config.batch_size, 1) * config.batch_size,
    )


def _train(context: TrainContext, job: _Job) -> None:
    """Train on one rank."""
    config, out_dir = job.config, job.out_dir
    images = read_training_images(job.data_dir, out_dir.parent / "scratch", context.device)
    guidance = GuidanceSource(job.mesh_dir, images.view.image_ids, job.data_dir)
    networks = _networks(config, job.identity_dir, context.device)
    encoder, generator, discriminator = networks.encoder, networks.generator, networks.discriminator
    config.hardware.prepare(encoder, generator, discriminator)
    optim = config.optim
    optimisers = Optimisers(None, optim.adam(generator, optim.lr), optim.adam(discriminator, optim.discriminator_lr))
    learner = _Learner(config, context, images, guidance, networks, optimisers)
    changed: dict[str, Stateful] = {
        "generator": generator,
        "discriminator": discriminator,
        "generator_optimiser": optimisers.generator,
        "discriminator_optimiser": optimisers.discriminator,
    }
    progress = Progress(context, config.checkpoints, changed)
    sample, sample_part_features = _sample(networks, images, config, context.device)
    if progress.fresh:
        generator.decoder.calibrate(sample_part_features)
    held = _colours(config, images, sample, sample_part_features, context) if context.rank == 0 else {}

    for epoch in progress.epochs(config.num_epochs):
        log = _train_epoch(learner, epoch, progress)

        # Look, log, checkpoint.
        rates = {"lr/generator": config.learning_rate((epoch + 1) / config.num_epochs)}
        rates["lr/discriminator"] = optim.discriminator_lr
        progress.epoch_done(log.row(epoch, **rates))
        if context.rank == 0:
            log_epoch(context.tracker, progress.history, out_dir)
            if (epoch + 1) % config.pictures_every == 0 or epoch + 1 == config.num_epochs:
                write_pictures(generator, encoder, images, guidance, out_dir, context.tracker)
        progress.save()

    if context.rank == 0:
        if not (out_dir / "pictures").is_dir():  # a rerun after the last epoch, whose pictures were lost
            write_pictures(generator, encoder, images, guidance, out_dir, context.tracker)
        save_weights(generator, out_dir / "generator.safetensors", network_header(generator, images.size))
        save_weights(discriminator, out_dir / "discriminator.safetensors", network_header(discriminator, images.size))
        _write_summary(config, guidance, progress.history, held, out_dir)
        warm = read_conditions(job.identity_dir)["identity"]
        write_conditions(out_dir, {"generator": warm.trained("generator", config.seed, config.num_epochs)})


@dataclass(frozen=True)
class _Learner:
    config: GeneratorConfig
    context: TrainContext
    images: TrainingImages
    guidance: GuidanceSource
    networks: Networks
    optimisers: Optimisers


def _networks(config: GeneratorConfig, identity_dir: Path, device: torch.device) -> Networks:
    """Build S, G and Dis from the seed; the encoder is a fixed eye here."""
    encoder = load_identity(identity_dir / "identity.safetensors").requires_grad_(False)
    generator = initialised(
        lambda: Generator(
            config.channels,
            part_dim=sum(painted_maps(encoder.map_channels, config.painted_from)),
            num_parts=config.num_parts,
            num_blocks=config.num_blocks,
            norm=config.structure_norm,
            painted_from=config.painted_from,
        ),
        config.seed,
        "generator",
    )
    discriminator = initialised(
        lambda: Discriminator(config.discriminator_channels, num_layers=config.discriminator_layers),
        config.seed,
        "discriminator",
    )
    return Networks(encoder.to(device), generator.to(device), discriminator.to(device))


def _train_epoch(learner: _Learner, epoch: int, progress: Progress) -> EpochLog:
    """Run the batches of one epoch, or the rest of them."""
    config, context, images = learner.config, learner.context, learner.images
    learner.networks.generator.train()
    order = shuffled_batches(
        torch.arange(len(images)), config.batch_size, generator=generator_for(config.seed, "generator", epoch)
    )
    draws = generator_for(config.seed, "generator", epoch, "variance", 0)
    timer = Timer(context.device)
    log = EpochLog(timer, progress.partial_epoch and progress.partial_epoch["log"])
    adversarial = config.adversarial(epoch)
    for iteration, batch, drawn in training_batches(
        order,
        lambda global_batch: varied_batch(
            global_batch,
            images,
            learner.guidance,
            angles=config.angles,
            mixing_alpha=config.mixing_alpha,
            draws=draws,
            device=context.device,
        ),
        draws,
        progress=progress,
        hardware=config.hardware,
        device=context.device,
        timer=timer,
    ):
        done = (epoch + iteration / len(order)) / config.num_epochs
        set_learning_rate(learner.optimisers.generator, config.learning_rate(done))
        result = generator_step(
            learner.networks,
            learner.optimisers,
            batch,
            config.generation(epoch),
            adversarial=adversarial,
            discriminate=adversarial and iteration % config.optim.discriminator_every == 0,
            timer=timer,
        )
        log.add(result.terms, config.batch_size, norms=result.gradient_norms, skipped=result.skipped)
        context.advance(config.batch_size, **log.newest(image="image_reconstruction"))
        if progress.due(iteration, len(order)):
            progress.save_within(iteration, {"draws": drawn, "log": log.state()})
    return log


def _write_summary(
    config: GeneratorConfig,
    guidance: GuidanceSource,
    history: list[dict[str, float]],
    held: Mapping[str, float],
    out_dir: Path,
) -> None:
    num_mesh = int(guidance.has_mesh.sum())
    summary = {
        "num_images": len(guidance.has_mesh),
        "num_images_with_mesh": num_mesh,
        "num_epochs": config.num_epochs,
        "note": ""
        if num_mesh
        else "No image has a mesh: people were painted onto their own edges, nothing was turned.",
    }
    write_json(out_dir / "summary.json", summary | dict(held) | {k: v for k, v in history[-1].items() if k != "epoch"})


@torch.no_grad()
def _sample(
    networks: Networks, images: TrainingImages, config: GeneratorConfig, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw up to 4096 images; return their positions (N,) and part features (N, P, C): for calibration."""
    order = torch.randperm(len(images), generator=generator_for(config.seed, "generator", "calibration"))[:4096]
    part_features = [
        networks.generator.appearance(networks.encoder.maps(images.batch(index, device)))
        for index in torch.split(order, 64)
    ]
    return order, torch.cat(part_features)


def _colours(
    config: GeneratorConfig, images: TrainingImages, sample: Tensor, part_features: Tensor, context: TrainContext
) -> dict[str, float]:
    """Measure and log how much of people's colours appearance holds; say so where it is too little to paint from."""
    if len(sample) < _FEWEST_READ:
        return {}
    held = colour_probe(part_features[:_MOST_READ], images.batch(sample[:_MOST_READ], context.device))
    context.tracker.log_metrics({"colour_probe": held})
    if held < _ENOUGH_COLOUR and config.painted_from == "last":
        _LOG.warning(
            "the encoder's last map holds %.0f %% of people's colours, and generated people will wear wrong clothes: "
            "generator.painted_from=early paints from maps that keep them",
            100 * held,
        )
    return {"colour_probe": held}


STAGE = Stage(
    name="generator",
    version=3,
    config=GeneratorConfig,
    needs=("data", "mesh", "identity"),
    run=run,
    does="learns to draw a person from another side",
    check=check,
)
