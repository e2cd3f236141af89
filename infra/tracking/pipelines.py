"""Pipelines that have finished: found again by name or id, with the runs that hold their stages' artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.tracking.mlflow import mlflow_client
from infra.tracking.store import FinishedRun
from reid_core.errors import UserError

_KIND = "pipeline"  # tag and, in older stores, name of the runs that gather stages
_SHORTEST_ID = 6  # characters of a run id that name it
_PAGE = 1000
_REUSED = "reused."


@dataclass(frozen=True)
class PipelineRun:
    """One finished pipeline.

    Attributes:
        run_id: Run that gathers its stages.
        title: Data set, preset and seed, for people.
        experiment: Experiment that it belongs to.
        stages: Stage name to the run with its artifacts, of this pipeline or of the earlier one that it reused.
    """

    run_id: str
    title: str
    experiment: str
    stages: Mapping[str, FinishedRun]


def list_pipelines(uri: str) -> list[PipelineRun]:
    """Return every finished pipeline of a store, newest first; what only reused a newer one is left out.

    Args:
        uri: Address of a tracking store that exists.
    """
    client = mlflow_client(uri)
    names = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
    if not names:
        return []
    runs = _search(client, list(names), "attributes.status = 'FINISHED'")
    children: dict[str, list[Any]] = {}
    by_id = {run.info.run_id: run for run in runs}
    for run in runs:
        children.setdefault(run.data.tags.get("mlflow.parentRunId", ""), []).append(run)
    pipelines: list[PipelineRun] = []
    listed: set[frozenset[str]] = set()
    for run in children.get("", []):
        if run.data.tags.get("kind") != _KIND and run.info.run_name != _KIND:
            continue
        stages = _stages(run, children.get(run.info.run_id, []), by_id)
        runs_of_stages = frozenset(stage.run_id for stage in stages.values())
        if stages and runs_of_stages not in listed:
            listed.add(runs_of_stages)
            pipelines.append(PipelineRun(run.info.run_id, _title(run, names), names[run.info.experiment_id], stages))
    return pipelines


def choose_pipelines(pipelines: Sequence[PipelineRun], wanted: Sequence[str]) -> list[PipelineRun]:
    """Choose pipelines by what people call them.

    Args:
        pipelines: Newest first.
        wanted: Each a name, a run id of the pipeline or of one of its stages, or the beginning of an id. Empty: all.

    Returns:
        In the order of ``wanted``, the newest one where several have a name; none twice.
    """
    if not wanted:
        return list(pipelines)
    chosen: list[PipelineRun] = []
    for text in wanted:
        matching = [pipeline for pipeline in pipelines if _is_called(pipeline, text)]
        if not matching:
            known = ", ".join(f"{pipeline.title} ({pipeline.run_id[:8]})" for pipeline in pipelines[:6])
            raise UserError(f'no finished pipeline is called "{text}"; there are: {known or "none"}')
        if matching[0] not in chosen:
            chosen.append(matching[0])
    return chosen


def _is_called(pipeline: PipelineRun, text: str) -> bool:
    ids = [pipeline.run_id, *(stage.run_id for stage in pipeline.stages.values())]
    return text == pipeline.title or (len(text) >= _SHORTEST_ID and any(run_id.startswith(text) for run_id in ids))


def _stages(run: Any, children: Sequence[Any], by_id: Mapping[str, Any]) -> dict[str, FinishedRun]:
    reused = {key.removeprefix(_REUSED): value for key, value in run.data.tags.items() if key.startswith(_REUSED)}
    runs = {name: by_id[run_id] for name, run_id in reused.items() if run_id in by_id}
    runs |= {child.data.tags["stage"]: child for child in children if "stage" in child.data.tags}
    return {name: FinishedRun(stage.info.run_id, stage.info.artifact_uri) for name, stage in runs.items()}


def _title(run: Any, experiments: Mapping[str, str]) -> str:
    if run.info.run_name != _KIND:
        return str(run.info.run_name)
    tags = run.data.tags
    seed = tags.get("seed")
    parts = [experiments[run.info.experiment_id], tags.get("preset", ""), f"seed {seed}" if seed else ""]
    return " ".join(part for part in parts if part)


def _search(client: Any, experiments: list[str], condition: str) -> list[Any]:
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            experiments, condition, order_by=["attributes.start_time DESC"], max_results=_PAGE, page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs
