"""Trials that need no pipeline: they report a curve, or fail in one of the ways that trials fail."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.home import Home
from infra.tracking.store import RunStore
from pipeline.command import Options
from pipeline.tune.objective import find_objective
from pipeline.tune.trial import DONE, FAILED, TrialJob, TrialRecord, close_trial, reason_of, save_record
from reid_core.errors import UserError


def toy_job(root: Path, search_run: str) -> TrialJob:
    home = Home(root)
    return TrialJob(
        options=Options(home=root),
        objective=find_objective("agreement", {"joint"}),
        stage="joint",
        num_epochs=4,
        home=home,
        uri=f"sqlite:///{home.database}",
        experiment="people",
        search_run=search_run,
        folder=root / "searches" / "toy",
        num_cpus=1,
        num_gpus=0,
        gpus=0.0,
    )


def toy_trial(
    values: Mapping[str, Any], job: TrialJob, trial_id: str, report: Callable[[Mapping[str, float]], None]
) -> None:
    """Report ``x`` at each of four epochs, or end as ``kind`` says; noted as ``run_trial`` does."""
    store = RunStore(job.home, job.uri, job.experiment)
    run_id = store.start(f"trial {trial_id}", params={}, tags={}, parent=job.search_run)
    record = TrialRecord(trial_id, run_id, dict(values))

    def note(**changes: Any) -> None:
        nonlocal record
        record = dataclasses.replace(record, **changes)
        save_record(job.folder, record)

    note()
    try:
        for epoch in range(1, 5):
            kind = values.get("kind", "good")
            if epoch == 2 and kind == "raises":
                raise ValueError("this one raises")
            if epoch == 2 and kind == "diverges":
                raise UserError("training diverged in epoch 1: loss is not a number; lower the learning rate")
            if epoch == 2 and kind == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if epoch == 2 and kind == "hungry":
                bytearray(1 << 60)
            note(epochs=epoch, objective=float(values["x"]))
            if epoch < 4:
                report({"objective": float(values["x"]), "epoch": epoch})
                time.sleep(0.2)
    except Exception as error:
        note(status=FAILED, reason=reason_of(error))
        close_trial(store, record)
        raise
    note(status=DONE)
    close_trial(store, record)
    report({"objective": float(values["x"]), "epoch": 4})
