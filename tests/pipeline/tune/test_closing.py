import dataclasses
import json
from pathlib import Path

import pytest

from infra.tracking.store import RunStore
from pipeline.tune.ray_tune import close_stopped
from pipeline.tune.trial import DONE, FAILED, PRUNED, RUNNING, TrialRecord, read_record, record_path
from tests.pipeline.tune.toy_trials import toy_job


@pytest.mark.parametrize(
    ("status", "died", "ended", "in_mlflow"),
    [(RUNNING, False, PRUNED, "KILLED"), (RUNNING, True, FAILED, "FAILED"), (DONE, False, DONE, "RUNNING")],
)
def test_a_trial_that_could_not_say_how_it_ended(
    status: str, died: bool, ended: str, in_mlflow: str, tmp_path: Path
) -> None:
    job = toy_job(tmp_path, "search")
    store = RunStore(job.home, job.uri, job.experiment)
    run_id = store.start("trial t", params={}, tags={}, parent=None)
    work = tmp_path / "work" / "joint-0"
    work.mkdir(parents=True)
    path = record_path(job.folder, "t")
    path.parent.mkdir(parents=True)
    record = TrialRecord("t", run_id, {"x": 1.0}, status, epochs=2, work=str(work))
    path.write_text(json.dumps(dataclasses.asdict(record)))

    close_stopped(job, "t", died=died)
    close_stopped(job, "not started", died=died)  # nothing to close
    kept = read_record(path)
    assert kept is not None
    assert kept.status == ended
    run = store._client.get_run(run_id)
    assert run.info.status == in_mlflow
    assert work.is_dir() == (status == DONE)
    if status == RUNNING:
        assert ("its process died" if died else "stopped after 2 epochs") in kept.reason
        assert run.data.tags["trial.reason"] == kept.reason
