"""Finding the encoder that somebody means: by run, by folder, by file, or simply the newest one."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.home import Home
from infra.tracking.address import known_store
from infra.tracking.mlflow import mlflow_client
from infra.tracking.pipelines import PipelineRun, choose_pipelines, list_pipelines
from infra.tracking.store import FinishedRun, RunStore
from pipeline.plan import STAGES
from reid_core.data.path_safety import absolute
from reid_core.errors import UserError
from reid_core.models.weights import IDENTITY_FILE, find_identity, read_header

_STAGES = tuple(stage.name for stage in reversed(STAGES) if stage.encoders)  # that leave an encoder, the best first
_SHORTEST_ID = 6


@dataclass(frozen=True)
class TrainedEncoder:
    """Weights of an identity encoder.

    Attributes:
        weights: The file.
        title: For people.
        image_size: Height and width in pixels that it was trained on.
        digest: Of the file's content; features of equal digests can be compared.
    """

    weights: Path
    title: str
    image_size: tuple[int, int]
    digest: str


def find_encoder(run: str | None, home: Home) -> TrainedEncoder:
    """Find the weights that an option names.

    Args:
        run: A weights file, a folder that holds one, the id (or its beginning) of a run of the joint or the identity
            stage or of a pipeline, or a pipeline's name; None for the newest finished joint training.
        home: Where runs are kept, unless MLFLOW_TRACKING_URI names a server.

    Returns:
        The encoder; the file's header was read.
    """
    if run is not None and os.path.exists(path := absolute(Path(run))):  # noqa: PTH110 - of any text, without an error
        return _checked(find_identity(path) if path.is_dir() else path, run)
    if run is not None and ("/" in run or run.endswith(".safetensors")):
        raise UserError(f"--run names {run}, which does not exist; give a run id, a run folder or a .safetensors file")
    uri = known_store(home)
    found, title = _newest(uri, home) if run is None else _named(uri, run)
    return _checked(find_identity(RunStore(home, uri, "").artifacts_dir(found)), title)


def _newest(uri: str, home: Home) -> tuple[FinishedRun, str]:
    # Pipelines first: the trials of a search hold trainings too, and most of them were not meant to be good.
    for pipeline in list_pipelines(uri):
        if _STAGES[0] in pipeline.stages:
            return pipeline.stages[_STAGES[0]], _title(pipeline, _STAGES[0])
    for run in _stage_runs(uri, _STAGES[0]):
        return _of_stage(run)
    raise UserError(f"no joint training has finished in {home.root}; run genvar pipeline, or give --run")


def _named(uri: str, run: str) -> tuple[FinishedRun, str]:
    if len(run) >= _SHORTEST_ID:
        for stage in _STAGES:
            for found in _stage_runs(uri, stage):
                if found.info.run_id.startswith(run):
                    return _of_stage(found)
    [pipeline] = choose_pipelines(list_pipelines(uri), [run])
    for stage in _STAGES:
        if stage in pipeline.stages:
            return pipeline.stages[stage], _title(pipeline, stage)
    raise UserError(f"the pipeline {pipeline.title} trained no encoder; run it further than the data stage")


def _stage_runs(uri: str, stage: str) -> list[Any]:
    client = mlflow_client(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    condition = f"tags.stage = '{stage}' and attributes.status = 'FINISHED'"
    order = ["attributes.start_time DESC"]
    return list(client.search_runs(experiments, condition, order_by=order, max_results=1000)) if experiments else []


def _of_stage(run: Any) -> tuple[FinishedRun, str]:
    return FinishedRun(run.info.run_id, run.info.artifact_uri), f"{run.data.tags['stage']} run {run.info.run_id[:8]}"


def _title(pipeline: PipelineRun, stage: str) -> str:
    return f"{stage} run {pipeline.stages[stage].run_id[:8]} of {pipeline.title}"


def _checked(weights: Path, title: str) -> TrainedEncoder:
    header = read_header(weights)
    if header.get("kind") != "identity":
        raise UserError(f"{weights} holds a {header.get('kind')} network, wanted an identity encoder ({IDENTITY_FILE})")
    height, width = header["image_size"]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return TrainedEncoder(weights.absolute(), title, (int(height), int(width)), digest)
