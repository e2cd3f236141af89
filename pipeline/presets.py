"""Presets: functions that return the configuration of every stage. The stages' own defaults are the paper's values."""

from collections.abc import Callable

from pipeline import presets_training
from reid_core.data.datasets import canonical_name
from reid_core.errors import UserError
from stages.cluster import ClusterStageConfig
from stages.data import DataConfig
from stages.mesh import MeshConfig
from stages.stage import StageConfig

Preset = dict[str, StageConfig]


def tiny(dataset: str) -> Preset:
    """Two CPU cores, some ten minutes: 64 x 32 pixels, small networks, few epochs."""
    identity = presets_training.tiny_identity()
    return {
        "data": DataConfig(dataset=dataset, image_height=64, image_width=32),
        "mesh": MeshConfig(topology="notoes_collapse3pc"),
        "identity": identity,
        "generator": presets_training.tiny_generator(),
        "cluster": ClusterStageConfig(clustering=identity.clustering),
        "joint": presets_training.tiny_joint(),
    }


def small(dataset: str) -> Preset:
    """One GPU, about an hour: 128 x 64 pixels, middle-sized networks."""
    identity = presets_training.small_identity()
    return {
        "data": DataConfig(dataset=dataset, image_height=128, image_width=64),
        "mesh": MeshConfig(topology="notoes_collapse5pc"),
        "identity": identity,
        "generator": presets_training.small_generator(),
        "cluster": ClusterStageConfig(clustering=identity.clustering),
        "joint": presets_training.small_joint(),
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
