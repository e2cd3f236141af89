"""The benchmark compares like with like: encoding each kind once gives the numbers of the plain transcription."""

import argparse

import pytest
import torch
from torch import Tensor

from benchmarks.plain_training import plain_step
from benchmarks.training import build, draw_batch, flops_of, ours_step, ways_of
from reid_core.learning.generator_step import Networks
from reid_core.learning.timer import Timer

SMALL = argparse.Namespace(
    arch="resnet10", height=32, width=16, channels=8, blocks=1, discriminator_channels=4, batch_size=4
)
CPU = torch.device("cpu")


def _weights(networks: Networks) -> dict[str, Tensor]:
    every = {"encoder": networks.encoder, "generator": networks.generator, "discriminator": networks.discriminator}
    return {
        f"{name}.{key}": value
        for name, net in every.items()
        for key, value in net.state_dict().items()
        if value.is_floating_point()
    }


def test_encoding_each_kind_once_is_the_plain_transcription() -> None:
    # In double precision: the first step of these untrained networks is steep.
    losses, states = [], []
    for plain in (True, False):
        networks, optimisers = build(SMALL, CPU)
        for network in (networks.encoder, networks.generator, networks.discriminator):
            network.double()
        batch = draw_batch(SMALL, networks.encoder.embedding_dim, CPU)
        source = batch.generation
        batch = batch._replace(
            generation=source._replace(
                images=source.images.double(), guidance=source.guidance.double(), turned=source.turned.double()
            ),
            pool=batch.pool._replace(rows=batch.pool.rows.double(), prototypes=batch.pool.prototypes.double()),
        )
        step = (
            plain_step(networks, optimisers, batch)
            if plain
            else ours_step(networks, optimisers, batch, Timer(), "by_kind")
        )
        losses.append(step)
        states.append(_weights(networks))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-7, rtol=1e-6, msg=name)


def test_passing_each_kind_once_is_less_work_than_passing_rotations_twice() -> None:
    flops = {}
    for passes in ("by_loss", "by_kind", "together"):
        networks, optimisers = build(SMALL, CPU)
        batch = draw_batch(SMALL, networks.encoder.embedding_dim, CPU)
        flops[passes] = flops_of(lambda: ours_step(networks, optimisers, batch, Timer(), passes))  # noqa: B023
    assert flops["by_kind"] == flops["together"] < flops["by_loss"]


def test_every_option_is_a_way_of_its_own() -> None:
    options = argparse.Namespace(precision="bfloat16", channels_last=True, compile=False)
    names = ["by_kind, bfloat16", "by_kind, channels last", "all"]
    assert list(ways_of(options)) == ["plain", "by_loss", "by_kind", "together", *names]
    options.precision, options.channels_last = "float32", False
    assert list(ways_of(options)) == ["plain", "by_loss", "by_kind", "together"]
