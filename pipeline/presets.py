"""Presets: functions that return the configuration of every stage, where it differs from the published values."""

from collections.abc import Callable
from dataclasses import replace

from reid_core.data.augment import Augmentation
from reid_core.data.datasets.find import canonical_name
from reid_core.errors import UserError
from reid_core.learning.generator_step import GenerationWeights
from reid_core.learning.joint_step import ContrastSettings
from stages.cluster import ClusterStageConfig
from stages.data import DataConfig
from stages.generator import GeneratorConfig
from stages.identity import IdentityConfig
from stages.joint import JointConfig
from stages.mesh import MeshConfig
from stages.stage import StageConfig
from stages.training.clustering import ClusterConfig
from stages.training.data import GeneratorOptimConfig

Preset = dict[str, StageConfig]

# About 800 rendered images of 64 x 32 on two CPU cores. Ten images a person: short neighbour lists.
_TINY_CLUSTERING = ClusterConfig(k1=10, k2=4, eps=0.55, min_samples=4)
_GENERATION = GenerationWeights(feature=1.0, adversarial=0.3)
# Generated views are worth more beside classical ones, and while contrast leaves the painting alone: it teaches the
# generator to please the encoder, and colours go wrong (docs/lab/ablation.md).
_CONTRAST = ContrastSettings(trains_generator=False)


def tiny(dataset: str) -> Preset:
    """Two CPU cores, some ten minutes: 64 x 32 pixels, small networks, few epochs."""
    # Ten-layer encoder, about 100 seconds.
    identity = IdentityConfig(
        arch="resnet10",
        weights="none",
        num_epochs=24,
        iterations_per_epoch=25,
        clusters_per_batch=16,
        images_per_cluster=4,
        lr_step_epochs=18,
        augmentation=Augmentation(pad=3, jitter=0.3),
        clustering=_TINY_CLUSTERING,
        monitor_every=4,
    )
    # Narrow generator, about 100 seconds.
    generator = GeneratorConfig(
        channels=48,
        num_blocks=2,
        structure_norm="none",
        discriminator_channels=16,
        num_epochs=12,
        batch_size=16,
        rotation_from_epoch=7,
        adversarial_from_epoch=10,
        weights=_GENERATION,
        lr_schedule="linear",
        optim=_generator_optim(lr=2e-3),
        pictures_every=4,
    )
    # About 150 seconds; learning rate and temperature were found by ``genvar tune``, without labels.
    joint = JointConfig(
        num_epochs=8,
        batch_size=16,
        lr=1e-2,
        lr_step_epochs=6,
        views="both",
        contrast=replace(_CONTRAST, temperature=0.12),
        weights=_GENERATION,
        optim=_generator_optim(lr=5e-4),
        generator_every=2,
        memory_refresh=True,
        clustering=_TINY_CLUSTERING,
        pictures_every=4,
        monitor_every=2,
    )
    return {
        "data": DataConfig(dataset=dataset, image_height=64, image_width=32),
        "mesh": MeshConfig(topology="notoes_collapse3pc"),
        "identity": identity,
        "generator": generator,
        "cluster": ClusterStageConfig(clustering=_TINY_CLUSTERING),
        "joint": joint,
    }


def small(dataset: str) -> Preset:
    """One GPU, about an hour: 128 x 64 pixels, middle-sized networks."""
    clustering = ClusterConfig(k1=20, k2=6)
    identity = IdentityConfig(
        arch="resnet18",
        weights="none",
        num_epochs=40,
        iterations_per_epoch=100,
        images_per_cluster=8,
        lr_step_epochs=20,
        augmentation=Augmentation(pad=5, jitter=0.3),
        clustering=clustering,
    )
    generator = GeneratorConfig(
        channels=96,
        structure_norm="none",
        discriminator_channels=32,
        num_epochs=30,
        adversarial_from_epoch=10,
        weights=_GENERATION,
        lr_schedule="linear",
        optim=_generator_optim(lr=1e-3),
    )
    joint = JointConfig(
        lr=1e-3,
        views="both",
        contrast=_CONTRAST,
        weights=_GENERATION,
        optim=_generator_optim(lr=3e-4),
        clustering=clustering,
    )
    return {
        "data": DataConfig(dataset=dataset, image_height=128, image_width=64),
        "mesh": MeshConfig(topology="notoes_collapse5pc"),
        "identity": identity,
        "generator": generator,
        "cluster": ClusterStageConfig(clustering=clustering),
        "joint": joint,
    }


def paper(dataset: str) -> Preset:
    """As published: 256 x 128 pixels, ResNet-50, on GPUs."""
    return {"data": DataConfig(dataset=dataset)}


def _generator_optim(*, lr: float) -> GeneratorOptimConfig:
    return GeneratorOptimConfig(lr=lr, discriminator_lr=5e-4, weight_decay=0.0, beta1=0.5, discriminator_every=2)


PRESETS: dict[str, Callable[[str], Preset]] = {"tiny": tiny, "small": small, "paper": paper}


def preset(name: str | None, dataset: str) -> tuple[str, Preset]:
    """Return a preset by name, and its name.

    Args:
        name: One of ``PRESETS``; None chooses by data set: tiny for rendered people and own images, else paper.
        dataset: Name of the data set.

    Returns:
        The name, and stage name to configuration; a stage without one keeps its defaults.
    """
    dataset = canonical_name(dataset)
    if name is None:
        name = "tiny" if dataset in ("synthetic", "folder") else "paper"
    if name not in PRESETS:
        raise UserError(f'--preset wants one of {", ".join(PRESETS)}, but got "{name}"')
    return name, PRESETS[name](dataset)
