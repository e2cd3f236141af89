"""What a stage is: a name, a configuration, the stages it reads, and one retry-safe function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker

# Files in which a training stage keeps one JSON object an epoch: losses and clusters, and labelled looks.
HISTORY, MONITOR = "history.jsonl", "monitor.jsonl"


class StageConfig(BaseModel):
    """Base of every stage's configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class ResultNeutral:
    """Mark of a configuration field on which no result depends: ``num_ranks: Annotated[int, ResultNeutral()]``.

    Attributes:
        display: True where the field decides what a run writes beside its results (sheets, labelled looks): runs that
            differ in it compare as equal, but one is not reused in place of the other.
    """

    display: bool = False


@dataclass(frozen=True)
class Prospect:
    """What files and configuration tell of the images before any of them is decoded.

    Attributes:
        num_train: Training images.
        num_cameras: Cameras of the training images; 0 where one of them does not say its own.
        is_rendered: Whether people are rendered, so that their bodies are known.
        not_ranked: Why the test images cannot be ranked; None where they can.
        image_size: Height and width that networks see, in pixels.
    """

    num_train: int
    num_cameras: int
    is_rendered: bool
    not_ranked: str | None
    image_size: tuple[int, int]


@dataclass(frozen=True)
class Encoder:
    """One identity encoder that a stage leaves.

    Attributes:
        name: As results are listed under.
        title: For people.
        file: Of its weights, in the stage's folder.
    """

    name: str
    title: str
    file: str


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline, and all that the rest of the code knows of it.

    Attributes:
        name: Short, unique; names the stage's configuration, run and folder.
        version: Raised when the stage's results change for the same configuration and inputs.
        config: Configuration class.
        needs: Names of the stages whose output directories ``run`` reads.
        run: ``run(config, inputs, out_dir, compute, tracker)`` reads the input directories (stage name to path) and
            fills ``out_dir``. Called again on the same ``out_dir`` after a crash. What a rerun may continue from
            (checkpoints, shards) lies in ``out_dir.parent / "scratch"``; it is not uploaded.
        does: What it does, in a few words.
        encoders: Identity encoders that it leaves, its best one last.
        pseudo_labels: What results call the pseudo labels that it leaves; empty where it leaves none.
        deterministic: Whether its results are the same with and without the deterministic mode.
        check: ``check(configs, prospect)`` raises a UserError for what the stage would refuse, as far as files and the
            configurations of all stages tell; called before any work.
        content: Returns a digest of what a configuration reads from outside of the pipeline; None for nothing.
        reads: Returns the files and folders that workers open, so that every node of a cluster must see them.
        still_serves: Asked of the artifacts of a finished run with the same fingerprint before they are reused:
            ``still_serves(config, folder)`` is False where they point to something that has moved. None: always.
    """

    name: str
    version: int
    config: type[StageConfig]
    needs: tuple[str, ...]
    run: Callable[[Any, Mapping[str, Path], Path, Compute, Tracker], None]
    does: str = ""
    encoders: tuple[Encoder, ...] = ()
    pseudo_labels: str = ""
    deterministic: bool = False
    check: Callable[[Mapping[str, Any], Prospect], None] | None = None
    content: Callable[[Any], str | None] | None = None
    reads: Callable[[Any], Sequence[Path]] | None = None
    still_serves: Callable[[Any, Path], bool] | None = None
