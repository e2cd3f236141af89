"""One epoch of the identity warm-up: what its batches are contrasted with, and the batches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from infra.compute.protocol import TrainContext
from reid_core.data.augment import augment, draw_augmentation
from reid_core.data.sampling import pk_batches
from reid_core.data.sending import send
from reid_core.learning.batch_statistics import BatchNormGroups
from reid_core.learning.cameras import ProxyLayout, lay_out_proxies, proxy_means
from reid_core.learning.clock import Clock
from reid_core.learning.distributed import own_rows, own_slice
from reid_core.learning.identity_step import CameraContrast, identity_step
from reid_core.learning.prototypes import MomentumPrototypes, PrototypeUpdate, cluster_means
from reid_core.models.identity import IdentityEncoder
from reid_core.seeds import generator_for
from stages.epoch_log import EpochLog
from stages.identity_config import IdentityConfig
from stages.progress import Progress
from stages.training import TrainingImages


@dataclass(frozen=True)
class Learner:
    """What the warm-up changes, and what it reads.

    Attributes:
        config: Settings.
        context: Of this rank.
        images: Training images.
        encoder: Trained in place.
        optimiser: Of the encoder.
        groups: Of the encoder's batch norm.
    """

    config: IdentityConfig
    context: TrainContext
    images: TrainingImages
    encoder: IdentityEncoder
    optimiser: Optimizer
    groups: BatchNormGroups


@dataclass(frozen=True)
class Teachers:
    """What an epoch's batches are contrasted with.

    Attributes:
        labels: Pseudo label of each training image, shape (N,).
        numbers: What is logged of them.
        prototypes: One a cluster.
        cameras: Contrast with one proxy for each cluster and camera, or None.
        proxies: Proxy of each training image, shape (N,), or None.
    """

    labels: Tensor
    numbers: Mapping[str, float]
    prototypes: MomentumPrototypes
    cameras: CameraContrast | None
    proxies: Tensor | None

    def state(self) -> dict[str, Any]:
        """Return what ``kept_teachers`` makes the same teachers of."""
        return {
            "labels": self.labels,
            "numbers": dict(self.numbers),
            "prototypes": self.prototypes.rows,
            "proxies": None if self.cameras is None else self.cameras.proxies.rows,
        }


def new_teachers(
    config: IdentityConfig,
    features: Tensor,
    labels: Tensor,
    numbers: Mapping[str, float],
    cameras: Tensor | None,
    device: torch.device,
) -> Teachers:
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
    return kept_teachers(config, state, cameras, device)


def kept_teachers(
    config: IdentityConfig, state: Mapping[str, Any], cameras: Tensor | None, device: torch.device
) -> Teachers:
    """Take up the teachers of an interrupted epoch.

    Args:
        config: Settings.
        state: What ``Teachers.state`` returned.
        cameras: As for ``new_teachers``.
        device: Of this rank.

    Returns:
        The same teachers.
    """

    def prototypes(rows: Tensor, update_by: PrototypeUpdate) -> MomentumPrototypes:
        return MomentumPrototypes(rows.to(device), momentum=config.momentum, update_by=update_by)

    labels, numbers = state["labels"], state["numbers"]
    clusters = prototypes(state["prototypes"], config.prototype_update)
    if cameras is None:
        return Teachers(labels, numbers, clusters, None, None)
    layout = lay_out_proxies(labels, cameras)
    contrast = CameraContrast(
        # A person under one camera is a handful of images: their mean is steadier than the hardest of them.
        proxies=prototypes(state["proxies"], "mean"),
        layout=ProxyLayout(*(column.to(device) for column in layout)),
        weight=config.cameras.weight,
        temperature=config.cameras.temperature,
        num_negatives=config.cameras.num_negatives,
    )
    return Teachers(labels, numbers, clusters, contrast, layout.of_image)


def run_epoch(learner: Learner, epoch: int, teachers: Teachers, progress: Progress, clock: Clock) -> EpochLog:
    """Run the batches of one epoch, or the rest of them.

    Args:
        learner: Updated in place.
        epoch: From 0.
        teachers: Updated in place.
        progress: Says where the epoch goes on, and saves.
        clock: Counts where the time goes.

    Returns:
        The epoch's log.
    """
    config, device, encoder = learner.config, learner.context.device, learner.encoder
    order = pk_batches(
        teachers.labels,
        num_clusters=config.clusters_per_batch,
        num_images=config.images_per_cluster,
        num_batches=config.iterations_per_epoch,
        generator=generator_for(config.seed, "identity", epoch, "batches"),
        cameras=learner.images.cameras if config.use_cameras else None,
    )
    draws = generator_for(config.seed, "identity", epoch, "augmentation", 0)
    kept = progress.middle
    if kept is not None:
        draws.set_state(kept["draws"])
    log = EpochLog(clock, None if kept is None else kept["log"])
    encoder.train()
    batches = _batches(learner, order[progress.first_iteration :], teachers, draws)
    loaded = config.hardware.loading(batches, device)
    for iteration, batch in enumerate(clock.each("data", loaded), progress.first_iteration):
        with clock.part("encoder"), learner.groups.of(torch.arange(len(batch.images), device=device)):
            terms, outcome = identity_step(
                encoder,
                learner.optimiser,
                teachers.prototypes,
                batch.images,
                batch.labels,
                temperature=config.temperature,
                cameras=teachers.cameras,
                proxies=batch.proxies,
            )
        log.add(terms, config.batch_size, norms=outcome.gradient_norms, skipped=int(outcome.skipped))
        learner.context.advance(config.batch_size, contrast=float(terms["cluster_contrast"]))
        progress.iteration_done(iteration, len(order), {"draws": batch.drawn, "log": log.state(), **teachers.state()})
    return log


class _Batch(NamedTuple):
    images: Tensor  # augmented
    labels: Tensor
    proxies: Tensor | None
    drawn: Tensor  # state of the random draws after this batch


def _batches(learner: Learner, order: Tensor, teachers: Teachers, draws: torch.Generator) -> Iterator[_Batch]:
    """Draw everything for each global batch, and yield this rank's part."""
    strengths, device = learner.config.augmentation.strengths(), learner.context.device
    for batch in order:
        index = own_slice(batch)
        drawn = draw_augmentation(len(batch), strengths, generator=draws).of(own_rows())
        yield _Batch(
            images=augment(learner.images.batch(index, device), strengths, drawn),
            labels=send(teachers.labels[index], device),
            proxies=None if teachers.proxies is None else send(teachers.proxies[index], device),
            drawn=draws.get_state(),
        )
