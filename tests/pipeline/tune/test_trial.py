"""One trial, in this process, over the small stages of the toys."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.home import Home
from infra.tracking.store import RunStore
from pipeline.command import Options
from pipeline.config import configure, parse_override
from pipeline.plan import Plan, make_plan
from pipeline.tune import trial as trials
from pipeline.tune.objective import Objective
from pipeline.tune.trial import (
    DONE,
    FAILED,
    RUNNING,
    TrialJob,
    epochs_of,
    read_record,
    reason_of,
    record_path,
    run_trial,
)
from reid_core.errors import UserError
from tests.pipeline import toys

_POSITION = Objective("position", "position", "how far it climbed", stages=("loop",))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialJob:
    def resolve(options: Options, seed: int | None) -> tuple[str, Mapping[str, Any]]:
        overrides = [parse_override(text) for text in options.overrides]
        return "toy", configure(toys.STAGES, toys.CONFIGS, overrides=overrides)

    def plan_of(options: Options, configs: Mapping[str, Any]) -> Plan:
        return make_plan(toys.STAGES, configs, {"numbers": lambda: "same"}, last=options.last, force=options.force)

    monkeypatch.setattr(trials, "resolve", resolve)
    monkeypatch.setattr(trials, "plan_of", plan_of)
    home = Home(tmp_path / "home")
    home.root.mkdir()
    store = RunStore(home, f"sqlite:///{home.database}", "people")
    search = store.start("search", params={}, tags={}, parent=None)
    folder = home.root / "searches" / "s"
    return TrialJob(Options(), _POSITION, "loop", 3, home, store.uri, "people", search, folder, 1, 0, 0.0)


def _calls(job: TrialJob, stage: str) -> int:
    path = job.home.root.parent / f"{stage}.calls"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def test_epochs_are_reported_and_noted_and_shared_stages_run_once(job: TrialJob) -> None:
    reports: list[dict[str, float]] = []
    run_trial({"loop.step.size": 2.0}, job, "a", lambda numbers: reports.append(dict(numbers)))
    run_trial({"loop.step.size": 0.5}, job, "b", lambda numbers: None)
    assert reports == [{"objective": 6.0 + 2.0 * epoch, "epoch": epoch} for epoch in (1, 2, 3)]
    assert [_calls(job, name) for name in ("numbers", "total", "loop")] == [1, 1, 2]

    record = read_record(record_path(job.folder, "a"))
    assert record is not None
    assert (record.status, record.epochs, record.objective) == (DONE, 3, 12.0)
    assert json.loads((Path(record.weights) / "position.json").read_text())["position"] == 12.0
    store = RunStore(job.home, job.uri, job.experiment)
    run = store._client.get_run(record.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"loop.step.size": "2.0"}
    assert run.data.tags["mlflow.parentRunId"] == job.search_run
    assert "selected_on_labels" not in run.data.tags
    assert [(m.step, m.value) for m in store._client.get_metric_history(record.run_id, "objective")] == [
        (0, 8.0),
        (1, 10.0),
        (2, 12.0),
    ]


def test_what_is_measured_after_the_objective_is_logged_with_its_own_epoch(job: TrialJob) -> None:
    trial = trials._Trial({"loop.step.size": 2.0}, job, "a", lambda numbers: None)
    for epoch in (0, 1):
        trial._on_epoch({"position": float(epoch)}, epoch)
        trial._on_epoch({"monitor/mAP": 50.0 + epoch}, epoch)
    trial._tracker.flush()
    history = RunStore(job.home, job.uri, job.experiment)._client.get_metric_history(trial.record.run_id, "monitor/mAP")
    assert [(m.step, m.value) for m in history] == [(0, 50.0), (1, 51.0)]
    assert trial.record.metrics == {"position": 1.0, "monitor/mAP": 51.0}


def test_a_trial_that_was_killed_goes_on_under_its_run(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(numbers: Mapping[str, float]) -> None:
        if numbers["epoch"] == 2:
            raise SystemExit  # as Tune ends the thread of a trial

    with pytest.raises(SystemExit):
        run_trial({"loop.step.size": 2.0}, job, "a", stop)
    record = read_record(record_path(job.folder, "a"))
    assert record is not None
    assert (record.status, record.epochs) == (RUNNING, 2)
    assert Path(record.work).is_dir()

    reports: list[float] = []
    run_trial({"loop.step.size": 2.0}, job, "a", lambda numbers: reports.append(numbers["epoch"]))
    again = read_record(record_path(job.folder, "a"))
    assert again is not None
    assert (again.status, again.run_id) == (DONE, record.run_id)
    assert reports == [2, 3]  # the first epoch's checkpoint was there


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("training diverged in epoch 1"), "training diverged in epoch 1"),
        (MemoryError(), "it ran out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "it ran out of memory"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_a_trial_that_fails_says_why(error: Exception, reason: str, job: TrialJob) -> None:
    def fail(numbers: Mapping[str, float]) -> None:
        raise error

    with pytest.raises(type(error)):
        run_trial({"loop.step.size": 2.0}, job, "a", fail)
    record = read_record(record_path(job.folder, "a"))
    assert record is not None
    assert (record.status, record.reason) == (FAILED, reason)
    run = RunStore(job.home, job.uri, job.experiment)._client.get_run(record.run_id)
    assert (run.info.status, run.data.tags["trial.reason"]) == ("FAILED", reason)


def test_what_torch_says_when_memory_is_used_up() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 58)
    assert reason_of(caught.value) == "it ran out of memory"
    wrapped = ValueError("the worker failed")
    wrapped.__cause__ = caught.value
    assert reason_of(wrapped) == "it ran out of memory"


def test_a_trial_that_trained_to_its_end_is_done_before_tune_can_stop_it(job: TrialJob) -> None:
    def stop_at_the_end(numbers: Mapping[str, float]) -> None:
        if numbers["epoch"] == 3:
            raise SystemExit  # as Tune ends the thread of a trial

    with pytest.raises(SystemExit):
        run_trial({"loop.step.size": 2.0}, job, "a", stop_at_the_end)
    record = read_record(record_path(job.folder, "a"))
    assert record is not None
    assert (record.status, record.epochs, record.objective) == (DONE, 3, 12.0)
    assert Path(record.weights).is_dir()

    reports: list[dict[str, float]] = []
    run_trial({"loop.step.size": 2.0}, job, "a", lambda numbers: reports.append(dict(numbers)))
    assert reports == [{"objective": 12.0, "epoch": 3}]  # killed before Tune had heard of it: nothing runs again
    assert _calls(job, "loop") == 1


def test_an_objective_that_nothing_was_logged_of_is_refused_after_the_stage_ran_once_more(job: TrialJob) -> None:
    run_trial({"loop.step.size": 2.0}, job, "a", lambda numbers: None)
    unlogged = dataclasses.replace(job, objective=dataclasses.replace(_POSITION, name="height", metric="height"))
    with pytest.raises(UserError, match="nothing was logged under that name"):
        run_trial({"loop.step.size": 2.0}, unlogged, "b", lambda numbers: None)
    assert _calls(job, "loop") == 2  # the finished one may have been made by a version that did not log it
    record = read_record(record_path(job.folder, "b"))
    assert record is not None
    assert record.status == FAILED


def test_results_chosen_on_labels_are_marked(job: TrialJob) -> None:
    labelled = dataclasses.replace(job, objective=dataclasses.replace(_POSITION, uses_labels=True))
    run_trial({"loop.step.size": 2.0}, labelled, "a", lambda numbers: None)
    record = read_record(record_path(job.folder, "a"))
    assert record is not None
    run = RunStore(job.home, job.uri, job.experiment)._client.get_run(record.run_id)
    assert run.data.tags["selected_on_labels"] == "true"


def test_epochs_of_a_finished_stage_join_both_histories(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"epoch": 0, "loss": 2.0}\n{"epoch": 1, "loss": 1.0}\n')
    (tmp_path / "monitor.jsonl").write_text('{"epoch": 1, "mAP": 40.0}\n')
    assert epochs_of(tmp_path) == [{"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.0, "monitor/mAP": 40.0}]
