"""What a stage is: a name, a configuration, the stages it reads, and one retry-safe function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from infra.compute.protocol import Compute
from infra.tracking.protocol import Tracker


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
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: Short, unique; names the stage's configuration, run and folder.
        version: Raised when the stage's results change for the same configuration and inputs.
        config: Configuration class.
        needs: Names of the stages whose output directories ``run`` reads.
        run: ``run(config, inputs, out_dir, compute, tracker)`` reads the input directories (stage name to path) and
            fills ``out_dir``. Called again on the same ``out_dir`` after a crash. What a rerun may continue from
            (checkpoints, shards) lies in ``out_dir.parent / "scratch"``; it is not uploaded.
        still_serves: Asked of the artifacts of a finished run with the same fingerprint before they are reused:
            ``still_serves(config, folder)`` is False where they point to something that has moved. None: always.
    """

    name: str
    version: int
    config: type[StageConfig]
    needs: tuple[str, ...]
    run: Callable[[Any, Mapping[str, Path], Path, Compute, Tracker], None]
    still_serves: Callable[[Any, Path], bool] | None = None
