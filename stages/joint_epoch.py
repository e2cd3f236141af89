"""One epoch of joint training: its learning rates, its batches, and what each of them is contrasted with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from infra.compute.protocol import TrainContext
from reid_core.data.augment import augment, draw_augmentation
from reid_core.data.sampling import shuffled_batches
from reid_core.data.sending import send
from reid_core.learning.batch_statistics import BatchNormGroups, freeze_batch_norm
from reid_core.learning.clock import Clock
from reid_core.learning.contrast import Pool, draw_rows
from reid_core.learning.distributed import gather_batch, own_rows, own_slice
from reid_core.learning.generator_step import GenerationSettings, Networks, Optimisers
from reid_core.learning.joint_step import ContrastSettings, JointBatch, joint_step
from reid_core.learning.memory import FeatureMemory
from reid_core.seeds import generator_for
from stages.epoch_log import EpochLog
from stages.joint_config import JointConfig
from stages.progress import Progress
from stages.training import GuidanceSource, TrainingImages, set_learning_rate, varied_batch


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
    clock: Clock,
) -> EpochLog:
    """Run the batches of one epoch, or the rest of them.

    Args:
        learner: Updated in place.
        epoch: From 0.
        pool: Memory, labels and prototypes of the epoch.
        numbers: What is logged of the pool's labels.
        progress: Says where the epoch goes on, and saves.
        clock: Counts where the time goes.

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
    kept = progress.middle
    if kept is not None:
        draws.set_state(kept["draws"])
    log = EpochLog(clock, None if kept is None else kept["log"])
    constant = {"labels": pool.labels, "numbers": dict(numbers), "prototypes": pool.prototypes}
    batches = _batches(learner, order[progress.first_iteration :], pool, draws)
    loaded = config.hardware.loading(batches, learner.context.device)
    for iteration, (batch, drawn) in enumerate(clock.each("data", loaded), progress.first_iteration):
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
            clock=clock,
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
