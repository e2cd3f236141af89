"""Time and money of the published settings on data sets of several sizes, from measured pieces and stated assumptions.

    python -m benchmarks.scale                 the tables of docs/lab/scale.md
    python -m benchmarks.scale --count         count the operations of the training steps anew (a minute on two cores)
    python -m benchmarks.scale --gpu-tflops 60 --gpu-price 3.0

Nothing here was measured on a GPU: training is operations counted, divided by an assumed speed.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.generation import GenerationBatch, Turnable
from reid_core.learning.generator_step import (
    GenerationSettings,
    GenerationWeights,
    Networks,
    Optimisers,
    generator_step,
)
from reid_core.learning.joint_step import ContrastSettings, JointBatch, joint_step
from reid_core.learning.memory import EpochTargets, FeatureMemory, draw_negatives, draw_positives
from reid_core.learning.mixing import draw_mixture
from reid_core.learning.timer import Timer
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder

GPUS = (1, 4, 16)


class DataSet(NamedTuple):
    """How many images there are."""

    name: str
    train: int
    query: int
    gallery: int


DATA_SETS = (
    DataSet("Market-1501", 12_936, 3_368, 15_913),
    DataSet("MSMT17", 32_621, 11_659, 82_161),
    DataSet("1 million", 1_000_000, 10_000, 1_000_000),
)


@dataclass(frozen=True)
class Pieces:
    """Measured on two cores of an AMD EPYC (24 GB, no GPU) unless it says otherwise.

    Attributes:
        mesh_seconds: One image on one core at 256 x 128: body found and fitted (50 ms) and eight views of 2,454 faces
            rasterised (43.5 ms each).
        encode_gflop: Forward pass of ResNet-50 at 256 x 128, one image, counted.
        joint_gflop: One image of a joint training step: 264 counted, and 58 on top (ASSUMED) for the discriminator's
            own update, which the counter cannot follow.
        identity_gflop: One image of a warm-up step: a forward and a backward pass, which costs two, of the encoder.
        generator_gflop: One image of a generator warm-up step: 200 counted, and as much on top.
        neighbour_seconds: Exact search of 32,621 images of 2,048 numbers, on two cores; grows with the square.
        label_seconds: Everything after the neighbours of 32,621 images, on two cores.
        label_power: How that grows with the number of images.
        gpu_tflops: ASSUMED: what one GPU sustains in these networks at 32 bits (TF32), of its 500 on paper.
        parallel_efficiency: ASSUMED: of each doubling of GPUs, by gradients over the network and ever smaller batches.
        gpu_price: ASSUMED: of one GPU with its machine, an hour.
        cores_a_gpu: ASSUMED: CPU cores that come with a GPU; meshes are made on them.
        cluster_speed_up: ASSUMED: 16 cores of a GPU's machine against the two of the measurement.
    """

    mesh_seconds: float = 0.40
    encode_gflop: float = 8.1
    joint_gflop: float = 322.0
    identity_gflop: float = 24.3
    generator_gflop: float = 258.0
    neighbour_seconds: float = 19.9
    label_seconds: float = 1.3
    label_power: float = 1.39
    gpu_tflops: float = 40.0
    parallel_efficiency: float = 0.9
    gpu_price: float = 2.5
    cores_a_gpu: int = 16
    cluster_speed_up: float = 7.0


# The published schedule: epochs over the training images.
_MEASURED_IMAGES = 32_621  # of the pieces of clustering
IDENTITY_EPOCHS, IDENTITY_IMAGES_AN_EPOCH = 50, 400 * 256
GENERATOR_EPOCHS, JOINT_EPOCHS = 40, 20


def hours(data: DataSet, num_gpus: int, pieces: Pieces) -> dict[str, float]:
    """Return the hours of every stage.

    Args:
        data: Sizes.
        num_gpus: GPUs, each with its share of CPU cores.
        pieces: Measured and assumed.

    Returns:
        Stage name to hours.
    """
    doublings = (num_gpus - 1).bit_length()
    speed = num_gpus * pieces.parallel_efficiency**doublings * pieces.gpu_tflops * 1000  # GFLOP a second
    clustering = clustering_seconds(data.train, pieces, num_machines=num_gpus)
    seconds = {
        "mesh": data.train * pieces.mesh_seconds / (pieces.cores_a_gpu * num_gpus),
        "identity": IDENTITY_EPOCHS * (IDENTITY_IMAGES_AN_EPOCH * pieces.identity_gflop / speed + clustering),
        "generator": GENERATOR_EPOCHS * data.train * pieces.generator_gflop / speed,
        "joint": JOINT_EPOCHS * (data.train * pieces.joint_gflop / speed + clustering),
        # Three encoders embed the test images; the product of query and gallery is small beside it.
        "evaluate": 3 * (data.query + data.gallery) * pieces.encode_gflop / speed,
    }
    return {name: value / 3600 for name, value in seconds.items()}


def clustering_seconds(num_images: int, pieces: Pieces, *, num_machines: int = 1) -> float:
    """Return the seconds of one exact clustering; machines share the search, and one of them makes the labels."""
    times = num_images / _MEASURED_IMAGES
    search, labels = pieces.neighbour_seconds * times**2, pieces.label_seconds * math.pow(times, pieces.label_power)
    return (search / num_machines + labels) / pieces.cluster_speed_up


def gigabytes(data: DataSet) -> dict[str, float]:
    """Return what the large things take, in GB.

    Returns:
        Name to size: decoded training images (one file, which all ranks of a machine map), features of 2,048 numbers,
        guidance maps as stored (about a fifth of their pixels after compression).
    """
    pixels = 256 * 128
    return {
        "decoded images, each machine": data.train * 3 * pixels / 1e9,
        "features (memory)": data.train * 2048 * 4 / 1e9,
        "mesh cache on disk": data.train * 8 * pixels / 5 / 1e9,
    }


def rows(pieces: Pieces) -> Iterator[str]:
    """Yield the tables in Markdown."""
    stages = list(hours(DATA_SETS[0], 1, pieces))
    yield f"| data set | GPUs | {' | '.join(stages)} | all | money |"
    yield "|---" * (len(stages) + 4) + "|"
    for data in DATA_SETS:
        for num_gpus in GPUS:
            found = hours(data, num_gpus, pieces)
            total = sum(found.values())
            cells = " | ".join(_time(value) for value in found.values())
            price = total * num_gpus * pieces.gpu_price
            yield f"| {data.name} | {num_gpus} | {cells} | {_time(total)} | {price:,.0f} $ |"
    yield ""
    names = list(gigabytes(DATA_SETS[0]))
    yield f"| data set | {' | '.join(names)} | one exact clustering, one machine |"
    yield "|---" * (len(names) + 2) + "|"
    for data in DATA_SETS:
        cells = " | ".join(f"{value:,.1f} GB" for value in gigabytes(data).values())
        yield f"| {data.name} | {cells} | {_time(clustering_seconds(data.train, pieces) / 3600)} |"


def count_gflop(batch_size: int = 2) -> Mapping[str, float]:
    """Count the operations of one image at the published size: encoder, and both steps (less the update of Dis).

    Args:
        batch_size: Images of the step that is counted.

    Returns:
        ``encode``, ``generator`` and ``joint`` in GFLOP (a multiplication and an addition are two).
    """
    networks = Networks(IdentityEncoder("resnet50"), Generator(128, part_dim=2048, num_blocks=4), Discriminator(64))
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(batch_size, 3, 256, 128, generator=draws) * 2 - 1
    guidance = torch.rand(2, batch_size, 1, 256, 128, generator=draws) * 2 - 1
    with torch.no_grad(), FlopCounterMode(display=False) as encode:
        networks.encoder.eval()(images)
    networks.encoder.train()
    features = torch.nn.functional.normalize(torch.randn(64, 2048, generator=draws), dim=1)
    labels = torch.arange(64) // 4
    prototypes = torch.nn.functional.normalize(features.view(16, 4, -1).mean(1), dim=1)
    memory, targets = FeatureMemory(features), EpochTargets(labels, prototypes, None)
    indices = torch.arange(batch_size)
    source = GenerationBatch(
        images,
        guidance[0],
        guidance[1],
        Turnable.among(torch.ones(batch_size, dtype=torch.bool)),
        draw_mixture(batch_size, alpha=0.6, generator=draws),
    )
    positives = draw_positives(labels, indices, generator=draws)
    batch = JointBatch(source, None, indices, positives, draw_negatives(labels, indices, most=32, generator=draws))
    settings = GenerationSettings(rotation=True, mixing="dmixup", weights=GenerationWeights(), clip_norm=5.0)
    optimisers = Optimisers(
        torch.optim.SGD(networks.encoder.parameters(), lr=1e-6),
        torch.optim.SGD(networks.generator.parameters(), lr=1e-6),
        torch.optim.SGD(networks.discriminator.parameters(), lr=1e-6),
    )
    with FlopCounterMode(display=False) as joint:
        joint_step(
            networks,
            optimisers,
            GeneratedEncoder(networks.encoder, batch_size),
            batch,
            memory,
            targets,
            settings,
            ContrastSettings(),
            train_generator=True,
            discriminate=False,  # the counter cannot follow the penalty's gradient of a gradient
            timer=Timer(),
        )
    networks.encoder.eval().requires_grad_(False)
    with FlopCounterMode(display=False) as warm_up:
        generator_step(networks, optimisers, source, settings, adversarial=True, discriminate=False, timer=Timer())
    return {
        "encode": encode.get_total_flops() / batch_size / 1e9,
        "generator": warm_up.get_total_flops() / batch_size / 1e9,
        "joint": joint.get_total_flops() / batch_size / 1e9,
    }


def _time(value: float) -> str:
    if value < 0.5 / 3600:
        return "below 1 s"
    if value < 1 / 60:
        return f"{value * 3600:.0f} s"
    if value < 1:
        return f"{value * 60:.0f} min"
    return f"{value:.1f} h" if value < 48 else f"{value / 24:.1f} d"


def main() -> None:
    """Print the tables, or count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", action="store_true", help="count the operations of the training steps")
    for field in fields(Pieces):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    given = vars(parser.parse_args())
    if given.pop("count"):
        for name, gflop in count_gflop().items():
            print(f"{name}: {gflop:.1f} GFLOP an image")
        return
    for row in rows(Pieces(**given)):
        print(row)


if __name__ == "__main__":
    main()
