"""A pipeline of three small stages: numbers, their sum, and a loop over the sum."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from infra.compute.protocol import Compute, TrainContext
from infra.tracking.protocol import Tracker
from stages.stage import ResultNeutral, Stage, StageConfig


class NumbersConfig(StageConfig):
    """Settings of the first stage."""

    count: int = Field(4, ge=1, le=100, description="Numbers.")
    num_workers: Annotated[int, ResultNeutral()] = Field(1, ge=1, le=8, description="Processes.")


class SumConfig(StageConfig):
    """Settings of the second stage."""

    factor: float = Field(1.0, gt=0, description="Multiplies the sum.")


class StepConfig(StageConfig):
    """Settings inside the settings of the third stage."""

    size: float = Field(0.5, ge=0, le=10, description="Of a step.")


class LoopConfig(StageConfig):
    """Settings of the third stage."""

    num_epochs: int = Field(3, ge=1, le=10, description="Epochs.")
    angles: tuple[int, ...] = Field((0, 45), description="Angles.")
    step: StepConfig = Field(default_factory=StepConfig, description="Steps.")
    seed: int = Field(0, ge=0, description="Seed.")


def numbers(config: NumbersConfig, inputs: Mapping[str, Path], out: Path, compute: Compute, tracker: Tracker) -> None:
    _count_call(out, "numbers")
    found = compute.map_shards(str, list(range(config.count)), description="numbers")
    (out / "numbers.json").write_text(json.dumps(found))


def total(config: SumConfig, inputs: Mapping[str, Path], out: Path, compute: Compute, tracker: Tracker) -> None:
    _count_call(out, "total")
    found = json.loads((inputs["numbers"] / "numbers.json").read_text())
    (out / "total.json").write_text(json.dumps(config.factor * sum(map(int, found))))


def loop(config: LoopConfig, inputs: Mapping[str, Path], out: Path, compute: Compute, tracker: Tracker) -> None:
    _count_call(out, "loop")
    start = json.loads((inputs["total"] / "total.json").read_text())
    compute.train(
        climb,
        (config, start, out),
        num_ranks=1,
        checkpoint_dir=out.parent / "scratch" / "checkpoints",
        tracker=tracker,
        description="climbing",
        num_images=config.num_epochs,
    )


def climb(context: TrainContext, argument: tuple[LoopConfig, float, Path]) -> None:
    """Climb a step an epoch; killed in the middle where the environment says so."""
    config, position, out = argument
    first = 0
    if (checkpoint := context.latest()) is not None:
        first, position = json.loads((checkpoint / "state.json").read_text())
    for epoch in range(first, config.num_epochs):
        if os.environ.get("TOY_DIE_IN_EPOCH") == str(epoch):
            os.kill(os.getpid(), signal.SIGKILL)
        position += config.step.size
        state = json.dumps([epoch + 1, position])
        context.advance(1, position=position)
        context.tracker.log_metrics({"position": position}, step=epoch)
        context.save(f"epoch-{epoch:04d}", lambda folder, text=state: _write(folder, text))  # type: ignore[misc]
    (out / "position.json").write_text(json.dumps({"position": position, "from": first}))


def _write(folder: Path, text: str) -> None:
    (folder / "state.json").write_text(text)


def _count_call(out: Path, name: str) -> None:
    """Leave a line a call beside the home, to count how often a stage ran."""
    with (out.parents[3] / f"{name}.calls").open("a") as file:
        file.write("called\n")


STAGES = (
    Stage("numbers", 1, NumbersConfig, (), numbers),
    Stage("total", 1, SumConfig, ("numbers",), total),
    Stage("loop", 1, LoopConfig, ("numbers", "total"), loop),
)
CONFIGS: dict[str, StageConfig] = {"numbers": NumbersConfig(), "total": SumConfig(), "loop": LoopConfig()}
