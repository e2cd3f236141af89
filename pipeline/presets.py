"""Settings of the three training stages for the presets; the paper's are the classes' defaults.

Presets: functions that return the configuration of every stage. The stages' own defaults are the paper's values.
"""

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

# About 800 rendered images of 64 x 32 on two CPU cores. Ten images a person: short neighbour lists.
_TINY_CLUSTERING = ClusterConfig(k1=10, k2=4, eps=0.55, min_samples=4)
_TINY_GENERATOR_OPTIM = GeneratorOptimConfig(
    lr=2e-3, discriminator_lr=5e-4, weight_decay=0.0, beta1=0.5, discriminator_every=2
)
_TINY_GENERATION = GenerationWeights(feature=1.0, adversarial=0.3)
# Generated views are worth more beside classical ones, and while contrast leaves the painting alone: it teaches the
# generator to please the encoder, and colours go wrong (docs/lab/ablation.md).
_CONTRAST = ContrastSettings(trains_generator=False)


def tiny_identity() -> IdentityConfig:
    """Warm-up of a ten-layer encoder in about 100 seconds."""
    return IdentityConfig(
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


def tiny_generator() -> GeneratorConfig:
    """Warm-up of a narrow generator in about 100 seconds."""
    return GeneratorConfig(
        channels=48,
        num_blocks=2,
        structure_norm="none",
        discriminator_channels=16,
        num_epochs=12,
        batch_size=16,
        rotation_from_epoch=7,
        adversarial_from_epoch=10,
        weights=_TINY_GENERATION,
        lr_schedule="linear",
        optim=_TINY_GENERATOR_OPTIM,
        pictures_every=4,
    )


def tiny_joint() -> JointConfig:
    """Joint training in about 150 seconds; learning rate and temperature by ``genvar tune``, without labels."""
    return JointConfig(
        num_epochs=8,
        batch_size=16,
        lr=1e-2,
        lr_step_epochs=6,
        views="both",
        contrast=replace(_CONTRAST, temperature=0.12),
        weights=_TINY_GENERATION,
        optim=_TINY_GENERATOR_OPTIM.model_copy(update={"lr": 5e-4}),
        generator_every=2,
        memory_refresh=True,
        clustering=_TINY_CLUSTERING,
        pictures_every=4,
        monitor_every=2,
    )


def small_identity() -> IdentityConfig:
    """Warm-up at 128 x 64 on one GPU."""
    return IdentityConfig(
        arch="resnet18",
        weights="none",
        num_epochs=40,
        iterations_per_epoch=100,
        images_per_cluster=8,
        lr_step_epochs=20,
        augmentation=Augmentation(pad=5, jitter=0.3),
        clustering=ClusterConfig(k1=20, k2=6),
    )


def small_generator() -> GeneratorConfig:
    """Generator warm-up at 128 x 64 on one GPU."""
    return GeneratorConfig(
        channels=96,
        structure_norm="none",
        discriminator_channels=32,
        num_epochs=30,
        adversarial_from_epoch=10,
        weights=_TINY_GENERATION,
        lr_schedule="linear",
        optim=_TINY_GENERATOR_OPTIM.model_copy(update={"lr": 1e-3}),
    )


def small_joint() -> JointConfig:
    """Joint training at 128 x 64 on one GPU."""
    return JointConfig(
        lr=1e-3,
        views="both",
        contrast=_CONTRAST,
        weights=_TINY_GENERATION,
        optim=_TINY_GENERATOR_OPTIM.model_copy(update={"lr": 3e-4}),
        clustering=ClusterConfig(k1=20, k2=6),
    )


Preset = dict[str, StageConfig]


def tiny(dataset: str) -> Preset:
    """Two CPU cores, some ten minutes: 64 x 32 pixels, small networks, few epochs."""
    identity = tiny_identity()
    return {
        "data": DataConfig(dataset=dataset, image_height=64, image_width=32),
        "mesh": MeshConfig(topology="notoes_collapse3pc"),
        "identity": identity,
        "generator": tiny_generator(),
        "cluster": ClusterStageConfig(clustering=identity.clustering),
        "joint": tiny_joint(),
    }


def small(dataset: str) -> Preset:
    """One GPU, about an hour: 128 x 64 pixels, middle-sized networks."""
    identity = small_identity()
    return {
        "data": DataConfig(dataset=dataset, image_height=128, image_width=64),
        "mesh": MeshConfig(topology="notoes_collapse5pc"),
        "identity": identity,
        "generator": small_generator(),
        "cluster": ClusterStageConfig(clustering=identity.clustering),
        "joint": small_joint(),
    }


def paper(dataset: str) -> Preset:
    """As published: 256 x 128 pixels, ResNet-50, on GPUs."""
    return {"data": DataConfig(dataset=dataset)}


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
