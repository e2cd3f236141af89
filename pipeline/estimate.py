"""How long the trainings of a plan take on CPUs, from operations that were counted (docs/lab/scale.md)."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from reid_core.models.identity import IdentityEncoder
from stages.generator import GeneratorConfig
from stages.identity import IdentityConfig
from stages.joint import JointConfig
from stages.stage import Prospect

_log = logging.getLogger(__name__)

# Operations of one image of a step at the published size and width, in GFLOP (docs/lab/scale.md).
_GENERATOR_GFLOP, _JOINT_GFLOP = 258.0, 322.0
_PUBLISHED_PIXELS, _PUBLISHED_CHANNELS = 256 * 128, 128
# What the preset tiny reaches on a core of an AMD EPYC: 134 GFLOP a second in its warm-up on two.
_GFLOPS_A_CORE = 60.0
# Below, nobody is surprised.
_LONG_HOURS = 4.0


def training_gflop(configs: Mapping[str, Any], prospect: Prospect) -> dict[str, float]:
    """Return the operations of every training stage in GFLOP; what they share with others is left out.

    Args:
        configs: Stage name to configuration.
        prospect: Of the images.
    """
    identity, generator, joint = configs["identity"], configs["generator"], configs["joint"]
    assert isinstance(identity, IdentityConfig)
    assert isinstance(generator, GeneratorConfig)
    assert isinstance(joint, JointConfig)
    encode = encoder_gflop(identity.arch, prospect.image_size)
    pixels = prospect.image_size[0] * prospect.image_size[1] / _PUBLISHED_PIXELS
    scale = pixels * (generator.channels / _PUBLISHED_CHANNELS) ** 2
    joint_images = joint.iterations_per_epoch * joint.batch_size or prospect.num_train
    return {
        # A backward pass costs two forward passes; every epoch clusters all images anew.
        "identity": identity.num_epochs
        * (3 * identity.iterations_per_epoch * identity.batch_size + prospect.num_train)
        * encode,
        "generator": generator.num_epochs * prospect.num_train * _GENERATOR_GFLOP * scale,
        "joint": joint.num_epochs * joint_images * _JOINT_GFLOP * scale,
    }


def encoder_gflop(arch: str, image_size: tuple[int, int]) -> float:
    """Count the operations of one image's pass through an encoder, without computing it."""
    from torch.utils.flop_counter import FlopCounterMode  # brings the compiler: a second

    with torch.device("meta"):
        encoder, image = IdentityEncoder(arch).eval(), torch.empty(1, 3, *image_size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(image)
    return float(counter.get_total_flops()) / 1e9


def warn_of_cpus(configs: Mapping[str, Any], times: Mapping[str, int], prospect: Prospect, num_cpus: int) -> None:
    """Warn when trainings take long without a GPU.

    Args:
        configs: Stage name to configuration.
        times: How often each stage runs; a stage that is left out does not.
        prospect: Of the images.
        num_cpus: CPUs to use.
    """
    gflop = {name: times[name] * count for name, count in training_gflop(configs, prospect).items() if times.get(name)}
    hours = sum(gflop.values()) / (_GFLOPS_A_CORE * num_cpus) / 3600
    if hours > _LONG_HOURS:
        _log.warning(
            "no GPU is usable for this: the training (%s) would take about %s on %d CPUs (%.1e operations at %.0f "
            "GFLOP a second and CPU); use a machine with a GPU, or --preset tiny for a first look",
            ", ".join(gflop),
            duration(hours),
            num_cpus,
            sum(gflop.values()) * 1e9,
            _GFLOPS_A_CORE,
        )


def duration(hours: float) -> str:
    """Return a number of hours in words: hours below two days, days below two weeks, else weeks."""
    for unit, length in (("weeks", 24 * 7), ("days", 24)):
        if hours >= 2 * length:
            return f"{hours / length:.0f} {unit}"
    return f"{hours:.0f} hours"
