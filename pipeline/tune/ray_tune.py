"""Ray Tune over the pipeline: proposes settings, runs trials side by side, and stops those that fall behind."""

import dataclasses
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from infra.tracking.store import RunStore
from pipeline.tune.space import Dimension
from pipeline.tune.trial import (
    FAILED,
    PRUNED,
    RUNNING,
    TrialJob,
    close_trial,
    read_record,
    record_path,
    run_trial,
    save_record,
)

_log = logging.getLogger(__name__)

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the other one prints tables, asked or not
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Ctrl-C is the command line's: the same command continues the search.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
_STATE = "tune"
_FOLDER = "trial_"
_DIED = "its process died: killed, out of memory, or a crash in native code"

Trial = Callable[[Mapping[str, Any], TrialJob, str, Callable[[Mapping[str, float]], None]], None]


@dataclass(frozen=True)
class Schedule:
    """How trials are spread and pruned.

    Attributes:
        num_trials: In all.
        concurrency: At the same time.
        num_epochs: Of a trial that is not pruned.
        grace_epochs: No trial is stopped before.
        reduction: At every rung one in ``reduction`` goes on; 0 prunes nothing.
        seed: Of the proposals.
    """

    num_trials: int
    concurrency: int
    num_epochs: int
    grace_epochs: int
    reduction: int
    seed: int


def run_trials(space: Sequence[Dimension], job: TrialJob, schedule: Schedule, *, trial: Trial = run_trial) -> None:
    """Run a search until every trial has ended; continues one that was interrupted.

    Ray must be running. What became of each trial is in its record; see ``pipeline.tune.trial``.

    Args:
        space: Settings that vary.
        job: What all trials share.
        schedule: How many trials, and which of them are stopped early.
        trial: What one trial does.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Why a trial failed is in its record; Tune keeps the traceback in the trial's error.txt.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # A trial that goes on after a kill reports the epoch of its checkpoint once more.
    warnings.filterwarnings("ignore", message="The reported value is ignored", category=UserWarning)
    storage = job.folder / _STATE
    trainable = tune.with_resources(
        tune.with_parameters(_trainable, job=job, trial=trial), {"cpu": job.num_cpus, "gpu": job.gpus}
    )
    if tune.Tuner.can_restore(str(storage)):
        tuner = tune.Tuner.restore(str(storage), trainable=trainable, resume_unfinished=True, restart_errored=False)
    else:
        tuner = tune.Tuner(
            trainable,
            tune_config=_tune_config(space, job, schedule),
            run_config=tune.RunConfig(
                name=_STATE, storage_path=str(job.folder), verbose=0, callbacks=[CloseTrials(job)]
            ),
        )
    results = tuner.fit()
    for result in (results[index] for index in range(len(results))):
        close_stopped(job, Path(result.path).name.removeprefix(_FOLDER), died=result.error is not None)


def _tune_config(space: Sequence[Dimension], job: TrialJob, schedule: Schedule) -> Any:
    import optuna
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mode = job.objective.mode
    distributions = {dimension.key: distribution(dimension) for dimension in space}
    scheduler: Any = None  # first in, first out
    if schedule.reduction:
        scheduler = ASHAScheduler(
            time_attr="epoch",
            max_t=schedule.num_epochs,
            grace_period=schedule.grace_epochs,
            reduction_factor=schedule.reduction,
        )
    return tune.TuneConfig(
        metric="objective",
        mode=mode,
        num_samples=schedule.num_trials,
        max_concurrent_trials=schedule.concurrency,
        search_alg=OptunaSearch(space=distributions, metric="objective", mode=mode, seed=schedule.seed),
        scheduler=scheduler,
        trial_dirname_creator=_folder_name,
    )


def distribution(dimension: Dimension) -> Any:
    """Return a dimension as Optuna knows it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.kind == "choice":
        return CategoricalDistribution(dimension.values)
    low, high = dimension.values
    if dimension.kind == "int":
        return IntDistribution(low, high)
    return FloatDistribution(low, high, log=dimension.kind == "log")


def _folder_name(trial: Any) -> str:
    return f"{_FOLDER}{trial.trial_id}"


def _trainable(config: Mapping[str, Any], job: TrialJob, trial: Trial) -> None:
    trial_id = tune.get_context().get_trial_id()
    trial(config, job, str(trial_id), lambda numbers: tune.report(dict(numbers)))


class CloseTrials(tune.Callback):
    """Closes trials whose process Tune has ended; holds plain data only, as Tune stores it for a continuation.

    Args:
        job: Of the search.
    """

    def __init__(self, job: TrialJob) -> None:
        self._job = job

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Mark a trial as pruned that ended without saying how."""
        close_stopped(self._job, str(trial.trial_id), died=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Mark a trial as failed that died without saying why."""
        close_stopped(self._job, str(trial.trial_id), died=True)
        record = read_record(record_path(self._job.folder, str(trial.trial_id)))
        _log.warning(
            "trial %s failed: %s", trial.trial_id, record.reason if record is not None else "before it could start"
        )


def close_stopped(job: TrialJob, trial_id: str, *, died: bool) -> None:
    """Write down how a trial ended that is still noted as running.

    Args:
        job: Of the search.
        trial_id: Of the trial.
        died: Whether it ended in an error; else it was stopped because others were better.
    """
    record = read_record(record_path(job.folder, trial_id))
    if record is None or record.status != RUNNING:
        return
    reason = _DIED if died else f"stopped after {record.epochs} epochs: others were better by then"
    record = dataclasses.replace(record, status=FAILED if died else PRUNED, reason=reason)
    save_record(job.folder, record)
    close_trial(RunStore(job.home, job.uri, job.experiment), record)
    if record.work:
        # Nobody continues it; its checkpoints would only fill the disk.
        shutil.rmtree(Path(record.work), ignore_errors=True)
