"""Images a second of the joint step, beside a plain transcription of the method, in one run.

    .venv/bin/python benchmarks/training.py                                    the tiny preset's networks
    .venv/bin/python benchmarks/training.py --arch resnet50 --height 256 --width 128 --channels 128

The plain way is the method written down as its equations stand: each network is called once for each kind of image, in
full precision, and the discriminator looks at each kind by itself. Ours calls a network once for all images that it can
see together. Batching kinds of images changes what the encoder's batch norm averages over: ``together`` is a setting
(``joint.contrast.encode_together``); everything else gives the same numbers up to rounding. Both ways take turns, and
the medians of their iterations are compared, so that a busy machine disturbs both alike.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_core.learning.batch_statistics import BatchNormGroups, running_statistics_kept
from reid_core.learning.clock import Clock
from reid_core.learning.contrast import Draws, Pool, draw_rows
from reid_core.learning.generation import GenerationBatch, parameters_fixed
from reid_core.learning.generator_step import GenerationSettings, Networks, Optimisers
from reid_core.learning.joint_step import ContrastSettings, JointBatch, joint_step
from reid_core.learning.mixing import draw_mixture
from reid_core.learning.prototypes import cluster_means
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder, part_appearance
from reid_core.models.initial import initialised

TEMPERATURE = 0.04
WEIGHTS = {
    "image_reconstruction": 5.0,
    "image_cycle": 5.0,
    "feature_reconstruction": 5.0,
    "feature_cycle": 5.0,
    "adversarial": 1.0,
}


def plain_step(networks: Networks, optimisers: Optimisers, batch: JointBatch) -> None:
    """Update all three networks, one call a network and kind of image."""
    encoder, generator, judge = networks.encoder, networks.generator, networks.discriminator
    source, pool, draws = batch.generation, batch.pool, batch.draws
    x, mixture = source.images, source.mixture
    encoded = encoder(x)
    features, parts = F.normalize(encoded.embedding, dim=1), part_appearance(encoded.feature_map, generator.num_parts)

    x_rec = generator(source.guidance, parts)
    x_rot = generator(source.turned, parts)
    with running_statistics_kept(encoder):
        parts_rec = part_appearance(encoder(x_rec).feature_map, generator.num_parts)
        parts_rot = part_appearance(encoder(x_rot).feature_map, generator.num_parts)
        x_cyc = generator(source.guidance, parts_rot)
        parts_cyc = part_appearance(encoder(x_cyc).feature_map, generator.num_parts)
        share = mixture.ratio.view(-1, 1, 1)
        x_mix = generator(source.guidance, share * parts + (1 - share) * parts[mixture.partner])
        seen_rot = F.normalize(encoder(x_rot).embedding, dim=1)
        seen_mix = F.normalize(encoder(x_mix).embedding, dim=1)
    kinds = (x_rec, x_rot, x_cyc, x_mix)

    real = x.clone().requires_grad_()
    scores = judge(real)
    loss_judge = sum_of(lambda score: (score - 1).square().mean(), scores)
    for fake in kinds:
        loss_judge = loss_judge + sum_of(lambda score: score.square().mean(), judge(fake.detach())) / len(kinds)
    slope = torch.autograd.grad(sum_of(lambda score: score.mean(dim=(1, 2, 3)).sum(), scores), real, create_graph=True)
    loss_judge = loss_judge + 0.01 * slope[0].square().sum(dim=(1, 2, 3)).mean()
    optimisers.discriminator.zero_grad(set_to_none=True)
    loss_judge.backward()  # type: ignore[no-untyped-call]
    optimisers.discriminator.step()

    known = parts.detach()
    scale = known.abs().mean()
    loss = 5 * ((x_rec - x).abs().mean() + (x_cyc - x).abs().mean())
    loss = loss + 5 * ((parts_rec - known).abs().mean() + (parts_cyc - known).abs().mean()) / scale
    with parameters_fixed(judge):
        for fake in kinds:
            loss = loss + sum_of(lambda score: (score - 1).square().mean(), judge(fake)) / len(kinds)
    own = pool.labels[batch.rows]
    for query, positive in ((seen_rot, batch.rows), (seen_rot, draws.positive), (features, draws.positive)):
        loss = loss + _nce(query, pool.rows, positive, draws).mean()
    logits = features @ pool.prototypes.T / TEMPERATURE
    mixed = seen_mix @ pool.prototypes.T / TEMPERATURE
    first = F.cross_entropy(mixed, own, reduction="none")
    second = F.cross_entropy(mixed, own[mixture.partner], reduction="none")
    loss = loss + F.cross_entropy(logits, own) + (mixture.ratio * first + (1 - mixture.ratio) * second).mean()

    assert optimisers.encoder is not None
    for optimiser in (optimisers.encoder, optimisers.generator):
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(generator.parameters(), 5.0)
    optimisers.encoder.step()
    optimisers.generator.step()


def sum_of(measure: Callable[[Tensor], Tensor], scores: tuple[Tensor, ...]) -> Tensor:
    """Return the sum of a measure over the scales of a discriminator."""
    return torch.stack([measure(score) for score in scores]).sum()


def _nce(query: Tensor, rows: Tensor, positive: Tensor, draws: Draws) -> Tensor:
    similarity = query @ rows.T / TEMPERATURE
    hit = similarity.gather(1, positive[:, None])
    missed = similarity.masked_fill(~draws.negatives, float("-inf"))
    return torch.cat([hit, missed], dim=1).logsumexp(dim=1) - hit.squeeze(1)


def ours_step(networks: Networks, optimisers: Optimisers, batch: JointBatch, clock: Clock, *, together: bool) -> None:
    """Update all three networks as joint training does."""
    joint_step(
        networks,
        optimisers,
        batch,
        GenerationSettings(rotation=True, mixing="dmixup", weights=WEIGHTS, r1_weight=0.01, clip_norm=5.0),
        ContrastSettings({"rotation_contrast": 1.0, "mixing_contrast": 1.0}, TEMPERATURE, False, True, together),
        train_generator=True,
        discriminate=True,
        groups=BatchNormGroups(networks.encoder, len(batch.rows), 0),
        clock=clock,
    )


def build(arguments: argparse.Namespace, device: torch.device) -> tuple[Networks, Optimisers]:
    """Return networks and optimisers, the same each time."""
    encoder = initialised(lambda: IdentityEncoder(arguments.arch), 0).to(device)
    generator = initialised(
        lambda: Generator(arguments.channels, part_dim=encoder.embedding_dim, num_blocks=arguments.blocks, norm="none"),
        0,
    ).to(device)
    judge = initialised(lambda: Discriminator(arguments.discriminator_channels), 0).to(device)
    for network in (encoder, generator, judge):
        network.train()
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimisers = Optimisers(
        torch.optim.SGD(trained, lr=1e-4, momentum=0.9, nesterov=True),
        torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.0, 0.999)),
        torch.optim.Adam(judge.parameters(), lr=1e-4, betas=(0.0, 0.999)),
    )
    return Networks(encoder, generator, judge), optimisers


def draw_batch(arguments: argparse.Namespace, dim: int, device: torch.device) -> JointBatch:
    """Return random images of random people that all have a mesh."""
    draws = torch.Generator().manual_seed(0)
    count, size = arguments.batch_size, (arguments.height, arguments.width)
    images, still, turned = (torch.rand(count, c, *size, generator=draws).to(device) * 2 - 1 for c in (3, 1, 1))
    rows = F.normalize(torch.randn(800, dim, generator=draws), dim=1).to(device)
    labels = (torch.arange(800) // 10).to(device)
    pool = Pool(rows, labels, cluster_means(rows, labels), None)
    index = torch.randperm(800, generator=draws)[:count].to(device)
    mixture = draw_mixture(count, alpha=0.6, generator=draws)
    mixture = mixture._replace(partner=mixture.partner.to(device), ratio=mixture.ratio.to(device))
    has_mesh = torch.ones(count, dtype=torch.bool, device=device)
    drawn = draw_rows(pool, index, num_negatives=8192, generator=draws)
    return JointBatch(GenerationBatch(images, still, turned, has_mesh, mixture), None, index, pool, drawn)


def main() -> None:
    """Time all ways in turn and print the medians as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet10")
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--discriminator-channels", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves them as they are")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clocks = {"ours": Clock(), "ours, together": Clock()}
    made = {name: build(arguments, device) for name in ("plain", *clocks)}
    batch = draw_batch(arguments, made["plain"][0].encoder.embedding_dim, device)
    ways: dict[str, Callable[[], None]] = {
        "plain": lambda: plain_step(*made["plain"], batch),
        "ours": lambda: ours_step(*made["ours"], batch, clocks["ours"], together=False),
        "ours, together": lambda: ours_step(*made["ours, together"], batch, clocks["ours, together"], together=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for iteration in range(arguments.iterations + 2):
        for name, step in ways.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if iteration >= 2:  # the first ones choose kernels and fill caches
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        json.dumps(
            {
                "images_per_second": {name: round(arguments.batch_size / m, 2) for name, m in medians.items()},
                "faster_than_plain": {name: round(medians["plain"] / m, 2) for name, m in medians.items()},
                "seconds_by_part": {
                    name: {part: round(spent / (arguments.iterations + 2), 4) for part, spent in clock.seconds.items()}
                    for name, clock in clocks.items()
                },
                "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
                "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
                "threads": torch.get_num_threads(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
