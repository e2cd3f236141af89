"""One trial of a search: a pipeline with other settings, up to the stage whose epochs the search listens to."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.compute.local import LocalCompute
from infra.home import Home
from infra.tracking.mlflow import MlflowTracker
from infra.tracking.store import RunStore
from pipeline.command import Options, plan_of, resolve
from pipeline.runner import StageResult, run_plan
from pipeline.tune.objective import Objective
from pipeline.work_dir import write_whole
from reid_core.errors import UserError
from stages.stage import HISTORY, MONITOR

RUNNING, DONE, PRUNED, FAILED = "running", "done", "pruned", "failed"
# How MLflow calls them: a pruned trial was stopped on purpose and has no weights.
_STATUS = {DONE: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED"}


@dataclass(frozen=True)
class TrialJob:
    """What all trials of a search share; picklable.

    Attributes:
        options: Of the pipeline that is varied.
        objective: What is reported.
        stage: The stage that is listened to; a trial ends with it.
        num_epochs: Of that stage.
        home: Where runs are kept.
        uri: Of the tracking store.
        experiment: Of the tracking store.
        search_run: Run of the search, which trials are shown under.
        folder: Of the search; a trial keeps a file in it.
        num_cpus: CPUs of one trial.
        num_gpus: GPUs that a trial sees.
        gpus: Share of them that it is given.
    """

    options: Options
    objective: Objective
    stage: str
    num_epochs: int
    home: Home
    uri: str
    experiment: str
    search_run: str
    folder: Path
    num_cpus: int
    num_gpus: int
    gpus: float


@dataclass(frozen=True)
class TrialRecord:
    """What is known of a trial; kept in a file, so that it outlives the process.

    Attributes:
        trial_id: Of Ray Tune.
        run_id: MLflow run of the trial.
        values: Searched settings and what they were.
        status: running, done, pruned or failed.
        reason: Why it was pruned or failed, in a sentence; else empty.
        epochs: Epochs that were reported.
        objective: Its last value, None before the first.
        metrics: Everything that was logged last, labelled numbers too (for people to look at).
        work: Folder in which the listened stage is worked on.
        weights: Folder of the listened stage's artifacts, once done.
    """

    trial_id: str
    run_id: str
    values: Mapping[str, Any]
    status: str = RUNNING
    reason: str = ""
    epochs: int = 0
    objective: float | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    work: str = ""
    weights: str = ""


def record_path(folder: Path, trial_id: str) -> Path:
    """Return where a search keeps what it knows of a trial."""
    return folder / "trials" / f"{trial_id}.json"


def save_record(folder: Path, record: TrialRecord) -> None:
    """Write what is known of a trial."""
    path = record_path(folder, record.trial_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(dataclasses.asdict(record)))


def read_record(path: Path) -> TrialRecord | None:
    """Return what is known of a trial, or None."""
    return TrialRecord(**json.loads(path.read_text())) if path.is_file() else None


def run_trial(
    values: Mapping[str, Any], job: TrialJob, trial_id: str, report: Callable[[Mapping[str, float]], None]
) -> None:
    """Run one trial and report its epochs.

    A trial that is to stop ends in the middle, with its process: the driver notes how (``pipeline.tune.ray_tune``).

    Args:
        values: Setting to value.
        job: Of the search.
        trial_id: Names the trial; a trial that was killed continues under it.
        report: Receives ``{"objective": ..., "epoch": ...}``; does not return when the trial is to stop.
    """
    known = read_record(record_path(job.folder, trial_id))
    if known is not None and known.status == DONE:  # killed before Tune had heard of it
        report(last_report(known))
        return
    trial = _Trial(values, job, trial_id, report)
    try:
        trial.run()
    except Exception as error:
        trial.end(FAILED, reason_of(error))
        raise


class _Trial:
    def __init__(
        self, values: Mapping[str, Any], job: TrialJob, trial_id: str, report: Callable[[Mapping[str, float]], None]
    ) -> None:
        self._job, self._report = job, report
        self._store = ReportingStore(job.home, job.uri, job.experiment, stage=job.stage, report=self._on_epoch)
        known = read_record(record_path(job.folder, trial_id))
        if known is not None and self._store.resume(known.run_id, parent=job.search_run):
            self.record = dataclasses.replace(known, status=RUNNING, reason="")
        else:
            params = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
            run_id = self._store.start(f"trial {trial_id}", params=params, tags=self._tags(), parent=job.search_run)
            self.record = TrialRecord(trial_id, run_id, dict(values))
        self._tracker = MlflowTracker(job.uri, self.record.run_id, job.folder / "journal")
        save_record(job.folder, self.record)

    def _tags(self) -> dict[str, str]:
        objective = self._job.objective
        marked = {"selected_on_labels": "true"} if objective.uses_labels else {}
        return {"genvar.kind": "trial", "objective": f"{objective.name} ({objective.mode})", **marked}

    def run(self) -> None:
        """Run the plan; raises what the stages and ``report`` raise."""
        job = self._job
        settings = tuple(f"{key}={json.dumps(value)}" for key, value in self.record.values.items())
        options = dataclasses.replace(job.options, overrides=(*job.options.overrides, *settings), last=job.stage)
        results = self._run_plan(options)
        if self.record.epochs < job.num_epochs:
            self._report_finished(results)  # found finished: nothing was logged while it ran
        if self.record.objective is None and results[-1].reused:
            # Made by a version that did not log what is compared.
            results = self._run_plan(dataclasses.replace(options, force=(job.stage,)))
        if self.record.objective is None:
            raise UserError(
                f"{job.objective.metric} of the stage {job.stage} is what the objective {job.objective.name} compares, "
                "but nothing was logged under that name with these images; choose another --objective"
            )
        self._update(weights=str(results[-1].folder))
        self.end(DONE, "")
        # Only now: a trial that has trained to its end is done, whoever was better by then.
        self._report(last_report(self.record))

    def _run_plan(self, options: Options) -> list[StageResult]:
        job = self._job
        _, configs = resolve(options, None)
        plan = plan_of(options, configs)
        self._update(work=str(job.home.work / f"{job.stage}-{plan.fingerprints[job.stage][:16]}"))
        compute = LocalCompute(num_cpus=job.num_cpus, num_gpus=job.num_gpus, deterministic=options.deterministic)
        try:
            return run_plan(
                plan, job.home, self._store, compute, tags={}, headline=lambda _: {}, parent=self.record.run_id
            )
        finally:
            compute.close()

    def end(self, status: str, reason: str) -> None:
        """Note how it ended, here and in MLflow."""
        self._update(status=status, reason=reason)
        self._tracker.flush()
        close_trial(self._store, self.record)

    def _report_finished(self, results: Iterable[StageResult]) -> None:
        [folder] = [result.folder for result in results if result.name == self._job.stage]
        for row in epochs_of(folder):
            self._on_epoch({name: value for name, value in row.items() if name != "epoch"}, int(row["epoch"]))

    def _on_epoch(self, metrics: Mapping[str, float], step: int) -> None:
        self._update(metrics={**self.record.metrics, **metrics})
        self._tracker.log_metrics(_numbers(metrics), step)
        if self._job.objective.metric not in metrics:
            return
        value = float(metrics[self._job.objective.metric])
        self._update(epochs=step + 1, objective=value)
        self._tracker.log_metrics({"objective": value}, step)
        if step + 1 < self._job.num_epochs:  # the last one waits for the weights: see ``run``
            self._report(last_report(self.record))

    def _update(self, **changes: Any) -> None:
        self.record = dataclasses.replace(self.record, **changes)
        save_record(self._job.folder, self.record)


def last_report(record: TrialRecord) -> dict[str, float]:
    """Return what Tune is told of a trial's last epoch."""
    assert record.objective is not None, record
    return {"objective": record.objective, "epoch": record.epochs}


def close_trial(store: RunStore, record: TrialRecord) -> None:
    """Close the MLflow run of a trial that has ended, with the reason as its tags say it."""
    store.tag(record.run_id, "trial.status", record.status)
    if record.reason:
        store.tag(record.run_id, "trial.reason", record.reason)
    store.end(record.run_id, _STATUS[record.status])


def epochs_of(folder: Path) -> list[dict[str, float]]:
    """Return what a finished training stage logged, one row an epoch, in order."""
    rows: dict[int, dict[str, float]] = {}
    for name in (HISTORY, MONITOR):
        if (path := folder / name).is_file():
            prefix = "monitor/" if name == "monitor.jsonl" else ""
            for line in path.read_text().splitlines():
                row = json.loads(line)
                epoch = int(row.pop("epoch"))
                rows.setdefault(epoch, {"epoch": epoch}).update({f"{prefix}{key}": row[key] for key in row})
    return [rows[epoch] for epoch in sorted(rows)]


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}


def reason_of(error: Exception) -> str:
    """Return in one line why a trial failed."""
    if _is_out_of_memory(error):
        return "it ran out of memory"
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, says that memory is used up; torch and Ray have words of their own."""
    while error is not None:
        if isinstance(error, MemoryError) or "OutOfMemoryError" in {cls.__name__ for cls in type(error).__mro__}:
            return True
        if isinstance(error, RuntimeError) and "allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


Report = Callable[[Mapping[str, float], int], None]


class ReportingStore(RunStore):
    """A ``RunStore`` whose tracker of one stage calls ``report`` with the numbers and the epoch.

    Args:
        home: As of the store.
        uri: As of the store.
        experiment: As of the store.
        stage: Whose epochs are passed on.
        report: Called in the thread of the training, which ends with what it raises.
    """

    def __init__(self, home: Home, uri: str, experiment: str, *, stage: str, report: Report) -> None:
        super().__init__(home, uri, experiment)
        self._stage, self._report = stage, report

    def tracker(self, run_id: str, journal_dir: Path) -> MlflowTracker:
        """Return the tracker of a run; one that reports when the run is of the listened stage."""
        if self.run_name(run_id) != self._stage:
            return super().tracker(run_id, journal_dir)
        return _ReportingTracker(self.uri, run_id, journal_dir, self._report)


class _ReportingTracker(MlflowTracker):
    def __init__(self, uri: str, run_id: str, journal_dir: Path, report: Report | None = None) -> None:
        super().__init__(uri, run_id, journal_dir)
        self._report = report

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        if step is not None and self._report is not None:
            self._report(metrics, step)

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process it is a plain tracker: only the process of the trial can report.
        return MlflowTracker, (self.uri, self.run_id, self.journal_dir)
