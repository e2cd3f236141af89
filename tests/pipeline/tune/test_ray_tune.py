"""Ray Tune, started for real, over trials that need no pipeline."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.compute.ray_cluster import connect, disconnect
from infra.tracking.store import RunStore
from pipeline.tune.ray_tune import Schedule, distribution, run_trials
from pipeline.tune.results import best_trial, read_trials
from pipeline.tune.space import parse_dimension
from pipeline.tune.trial import DONE, FAILED, PRUNED
from tests.pipeline.tune.toy_trials import toy_job, toy_trial

_ROOT = str(Path(__file__).parents[3])


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([_ROOT, *([before] if before else [])])  # the toys, in the workers
    connect(2, 0)
    yield
    disconnect()
    del os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before


def test_dimensions_as_optuna_knows_them() -> None:
    assert distribution(parse_dimension("a.b", "log(1e-4, 1e-2)")).log
    assert not distribution(parse_dimension("a.b", "uniform(0, 1)")).log
    whole = distribution(parse_dimension("a.b", "int(2, 5)"))
    assert (whole.low, whole.high) == (2, 5)
    assert distribution(parse_dimension("a.b", "choice(u, v)")).choices == ("u", "v")


@pytest.mark.timeout(900)  # every trial that fails costs a new process, which loads everything again
@pytest.mark.usefixtures("ray")
def test_a_search_goes_on_past_trials_that_fail_and_stops_those_that_fall_behind(tmp_path: Path) -> None:
    store = RunStore(toy_job(tmp_path, "").home, toy_job(tmp_path, "").uri, "people")
    job = toy_job(tmp_path, store.start("search", params={}, tags={}, parent=None))
    space = (
        parse_dimension("x", "uniform(0, 1)"),
        parse_dimension("kind", "choice(good, good too, raises, diverges, dies, hungry)"),
    )
    schedule = Schedule(num_trials=8, concurrency=2, num_epochs=4, grace_epochs=2, reduction=2, seed=676)
    run_trials(space, job, schedule, trial=toy_trial)

    trials = read_trials(job.folder, job.objective)
    assert len(trials) == 8
    by_kind = {trial.values["kind"]: trial for trial in trials if trial.status == FAILED}
    assert "this one raises" in by_kind["raises"].reason
    assert "training diverged" in by_kind["diverges"].reason
    assert "its process died" in by_kind["dies"].reason
    assert by_kind["hungry"].reason == "it ran out of memory"
    good = [trial for trial in trials if str(trial.values["kind"]).startswith("good")]
    assert {trial.status for trial in good} == {DONE, PRUNED}
    best = best_trial(trials)
    assert best is not None
    assert best.epochs == 4
    for trial in trials:
        run = store._client.get_run(trial.run_id)
        assert run.info.status == {DONE: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED"}[trial.status]
        assert run.data.tags["mlflow.parentRunId"] == job.search_run
        assert run.data.tags["trial.status"] == trial.status

    # The same search again: nothing runs twice.
    before = {trial.trial_id: trial for trial in trials}
    run_trials(space, job, schedule, trial=toy_trial)
    assert {trial.trial_id: trial for trial in read_trials(job.folder, job.objective)} == before
