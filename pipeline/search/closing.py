"""Closes the books of trials that cannot do so themselves: Tune ends the process of a trial that it stops."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from ray.tune import Callback

from infra.tracking.store import RunStore
from pipeline.search.trial import FAILED, PRUNED, RUNNING, TrialJob, close_trial, read_record, record_path
from pipeline.workplace import write_whole

_log = logging.getLogger(__name__)

_DIED = "its process died: killed, out of memory, or a crash in native code"


class CloseTrials(Callback):
    """Called by Tune in the driver; holds plain data only, because Tune stores it for a later continuation.

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
    path = record_path(job.folder, trial_id)
    record = read_record(path)
    if record is None or record.status != RUNNING:
        return
    reason = _DIED if died else f"stopped after {record.epochs} epochs: others were better by then"
    record = dataclasses.replace(record, status=FAILED if died else PRUNED, reason=reason)
    write_whole(path, json.dumps(dataclasses.asdict(record)))
    close_trial(RunStore(job.home, job.uri, job.experiment), record)
    if record.work:
        # Nobody continues it; its checkpoints would only fill the disk.
        shutil.rmtree(Path(record.work), ignore_errors=True)
