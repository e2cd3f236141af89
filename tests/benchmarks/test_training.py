"""The benchmark compares like with like: our step gives the numbers of the plain transcription."""

import argparse

import pytest
import torch
from torch import Tensor

from benchmarks.plain_training import plain_step
from benchmarks.training import Case, build, draw_case, flops_of, ours_step, ways_of
from reid_core.learning.generator_step import Networks
from reid_core.learning.memory import FeatureMemory
from reid_core.learning.timer import Timer

SMALL = argparse.Namespace(
    arch="resnet10", height=32, width=16, channels=8, blocks=1, discriminator_channels=4, batch_size=4
)
CPU = torch.device("cpu")


def _weights(networks: Networks) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, network in vars(networks).items()
        for key, value in network.state_dict().items()
        if value.is_floating_point()
    }


def _in_double_precision(networks: Networks) -> Case:
    for network in vars(networks).values():
        network.double()
    batch, memory, targets = draw_case(SMALL, networks.encoder.embedding_dim, CPU)
    source = batch.generation
    source = source._replace(
        images=source.images.double(),
        guidance=source.guidance.double(),
        turned_guidance=source.turned_guidance.double(),
    )
    return Case(
        batch._replace(generation=source),
        FeatureMemory(memory.features.double()),
        targets._replace(prototypes=targets.prototypes.double()),
    )


def test_the_joint_step_is_its_plain_transcription() -> None:
    # In double precision: the first step of these untrained networks is steep.
    losses, states = [], []
    for plain in (True, False):
        networks, optimisers = build(SMALL, CPU)
        case = _in_double_precision(networks)
        if plain:
            losses.append(float(plain_step(networks, optimisers, *case)))
        else:
            losses.append(ours_step(networks, optimisers, case, Timer()))
        states.append(_weights(networks) | {"memory": case.memory.features})
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-7, rtol=1e-6, msg=name)


def test_ours_is_less_work_than_the_plain_way() -> None:
    networks, optimisers = build(SMALL, CPU)
    case = draw_case(SMALL, networks.encoder.embedding_dim, CPU)
    ours = flops_of(lambda: ours_step(networks, optimisers, case, Timer()))
    assert ours < flops_of(lambda: plain_step(networks, optimisers, *case))


def test_every_option_is_a_way_of_its_own() -> None:
    options = argparse.Namespace(precision="bfloat16", channels_last=True, compile=False)
    assert list(ways_of(options)) == ["plain", "ours", "bfloat16", "channels last", "all"]
    options.precision, options.channels_last = "float32", False
    assert list(ways_of(options)) == ["plain", "ours"]
