r"""Images a second of the joint step, beside a plain transcription of the method, in one run.

    .venv/bin/python -m benchmarks.training                                         the tiny preset's networks
    .venv/bin/python -m benchmarks.training --arch resnet50 --height 256 --width 128 --channels 128 \
        --precision bfloat16 --channels-last --compile --peak-tflops 989

The plain way (``plain_training.py``) calls each network once for each kind of image. Ours calls a network once for all
images that it can see together, and the encoder once for each kind of generated image; the numbers are those of the
plain way up to rounding. Each further option is a way of its own; the last way has all of them. All ways take turns,
and the medians of their iterations are compared, so that a busy machine disturbs all of them alike.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain_training import TAU, plain_step
from reid_core.learning.generated_encoder import GeneratedEncoder
from reid_core.learning.generation import GenerationBatch, Turnable
from reid_core.learning.generator_step import GenerationSettings, GenerationWeights, Networks, Optimisers
from reid_core.learning.joint_step import ContrastSettings, JointBatch, joint_step
from reid_core.learning.memory import EpochTargets, FeatureMemory, cluster_means, draw_negatives, draw_positives
from reid_core.learning.mixing import draw_mixture
from reid_core.learning.timer import Timer
from reid_core.models.discriminator import Discriminator
from reid_core.models.generator import Generator
from reid_core.models.identity import IdentityEncoder
from reid_core.models.speed import speed_up
from reid_core.seeds import initialised

PEOPLE, IMAGES_OF_EACH = 80, 10


@dataclass(frozen=True)
class Way:
    """One way of computing a step."""

    plain: bool = False
    dtype: torch.dtype | None = None
    channels_last: bool = False
    compiled: bool = False


class Case(NamedTuple):
    """What a step learns from."""

    batch: JointBatch
    memory: FeatureMemory
    targets: EpochTargets


def ours_step(networks: Networks, optimisers: Optimisers, case: Case, timer: Timer) -> float:
    """Update all three networks as joint training does; return the loss of encoder and generator."""
    generation = GenerationSettings(rotation=True, mixing="dmixup", weights=GenerationWeights(), clip_norm=5.0)
    contrast = ContrastSettings(temperature=TAU)
    result = joint_step(
        networks,
        optimisers,
        GeneratedEncoder(networks.encoder, len(case.batch.indices)),
        case.batch,
        case.memory,
        case.targets,
        generation,
        contrast,
        train_generator=True,
        discriminate=True,
        timer=timer,
    )
    case.memory.update(case.batch.indices, result.features, skip=result.skipped)
    weights = generation.weights.by_term() | contrast.by_term()
    return sum(weight * float(result.step.terms[name]) for name, weight in weights.items())


def ways_of(arguments: argparse.Namespace) -> dict[str, Way]:
    """Return the ways to compare, the plain one first."""
    ways = {"plain": Way(plain=True), "ours": Way()}
    dtype = torch.bfloat16 if arguments.precision == "bfloat16" else None
    if dtype:
        ways["bfloat16"] = Way(dtype=dtype)
    if arguments.channels_last:
        ways["channels last"] = Way(channels_last=True)
    if arguments.compile:
        ways["compiled"] = Way(compiled=True)
    if dtype or arguments.channels_last or arguments.compile:
        ways["all"] = Way(dtype=dtype, channels_last=arguments.channels_last, compiled=arguments.compile)
    return ways


class Runner:
    """Networks of one way, their step, and what was measured of it."""

    def __init__(self, way: Way, arguments: argparse.Namespace, device: torch.device) -> None:
        self._networks, self._optimisers = build(arguments, device)
        every = (self._networks.encoder, self._networks.generator, self._networks.discriminator)
        speed_up(every, dtype=way.dtype, channels_last=way.channels_last, compiled=way.compiled)
        self._case = draw_case(arguments, self._networks.encoder.embedding_dim, device)
        self._way = way
        self.timer = Timer(device)
        self.seconds: list[float] = []
        self.first_loss = 0.0

    def step(self) -> float:
        """Make one step, and return its loss."""
        if self._way.plain:
            return float(plain_step(self._networks, self._optimisers, *self._case))
        return ours_step(self._networks, self._optimisers, self._case, self.timer)

    def timed_step(self) -> None:
        """Make one step and remember how long it took; its loss is read, so that a GPU has finished."""
        start = time.perf_counter()
        self.step()
        self.seconds.append(time.perf_counter() - start)


class _NoModules:
    """Takes the place of torch's tracker of modules, which a gradient within a forward pass (R1) confuses."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def flops_of(step: Callable[[], object]) -> float:
    """Return the floating-point operations of convolutions and matrix products in a step, backward pass included."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with counter:
        step()
    return float(counter.get_total_flops())


def matmul_rate(device: torch.device) -> float:
    """Return the float32 operations a second that a large matrix product reaches here."""
    left = torch.rand(1024, 1024, device=device)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        float((left @ left)[0, 0])
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best


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


def draw_case(arguments: argparse.Namespace, dim: int, device: torch.device) -> Case:
    """Return random images of random people that all have a mesh."""
    draws = torch.Generator().manual_seed(0)
    count, size = arguments.batch_size, (arguments.height, arguments.width)
    images, still, turned = (torch.rand(count, c, *size, generator=draws).to(device) * 2 - 1 for c in (3, 1, 1))
    memory = FeatureMemory(torch.randn(PEOPLE * IMAGES_OF_EACH, dim, generator=draws).to(device))
    labels = (torch.arange(PEOPLE * IMAGES_OF_EACH) // IMAGES_OF_EACH).to(device)
    indices = torch.randperm(len(labels), generator=draws)[:count].to(device)
    mixture = draw_mixture(count, alpha=0.6, generator=draws)
    mixture = mixture._replace(partner=mixture.partner.to(device), ratio=mixture.ratio.to(device))
    everyone = torch.arange(count, device=device)
    batch = JointBatch(
        GenerationBatch(images, still, turned, Turnable(everyone, everyone.roll(1), count), mixture),
        None,
        indices,
        draw_positives(labels, indices, generator=draws),
        draw_negatives(labels, indices, most=8192, generator=draws),
    )
    return Case(batch, memory, EpochTargets(labels, cluster_means(memory.features, labels), None))


def peak_memory_gb(name: str) -> float:
    """Return the peak memory of one way, measured in a process of its own."""
    again = [argument for argument in sys.argv[1:] if argument != "--memory"]
    command = [sys.executable, "-m", "benchmarks.training", *again, "--only", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(float(done.stdout), 2)


def measure(arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Time all ways in turn."""
    ways = ways_of(arguments)
    runners = {name: Runner(way, arguments, device) for name, way in ways.items()}
    for runner in runners.values():
        runner.first_loss = runner.step()
    flops = {name: 0.0 if ways[name].compiled else flops_of(runner.step) for name, runner in runners.items()}
    for name in (name for name, way in ways.items() if way.compiled):
        flops[name] = flops["ours"]  # compiling hides them
    for _ in range(arguments.iterations):
        for runner in runners.values():
            runner.timed_step()
    peak = arguments.peak_tflops * 1e12 or matmul_rate(device)
    table = {}
    for name, runner in runners.items():
        median = statistics.median(runner.seconds)
        plain = runners["plain"]
        table[name] = {
            "images_per_second": round(arguments.batch_size / median, 2),
            "faster_than_plain": round(statistics.median(plain.seconds) / median, 2),
            "first_loss_differs_by": float(f"{abs(runner.first_loss / plain.first_loss - 1):.1e}"),
            "gflop_per_image": round(flops[name] / arguments.batch_size / 1e9, 2),
            "utilisation": round(flops[name] / median / peak, 3),
            "seconds_by_span": {
                span: round(spent / (arguments.iterations + 2), 4) for span, spent in runner.timer.seconds().items()
            },
        }
        if arguments.memory:
            table[name]["peak_memory_gb"] = peak_memory_gb(name)
    return {
        "ways": table,
        "peak_tflops": round(peak / 1e12, 3),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Print the comparison as JSON, or the peak memory of one way in GB."""
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
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of each way, in its own process")
    parser.add_argument("--peak-tflops", type=float, default=0, help="of the device; 0 measures a matrix product")
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not arguments.only:
        print(json.dumps(measure(arguments, device), indent=1))
        return
    runner = Runner(ways_of(arguments)[arguments.only], arguments, device)
    for _ in range(3):
        runner.step()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print((torch.cuda.max_memory_allocated() if device.type == "cuda" else used) / 1e9)


if __name__ == "__main__":
    main()
