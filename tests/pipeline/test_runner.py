import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from infra.compute.local import LocalCompute
from infra.home import Home
from infra.tracking.mlflow import mlflow_client
from infra.tracking.store import RunStore
from pipeline import runner
from pipeline.plan import make_plan
from pipeline.runner import StageResult, run_plan
from reid_core.errors import UserError
from stages.stage import StageConfig
from tests.pipeline.toys import CONFIGS, STAGES, LoopConfig, SumConfig

_DRIVER = """
import sys
from pathlib import Path
from tests.pipeline.test_runner import run_toys
if __name__ == "__main__":
    run_toys(Path(sys.argv[1]))
"""


def _store(folder: Path) -> RunStore:
    home = Home(folder / "home")
    return RunStore(home, f"sqlite:///{home.database}", "toys")


def run_toys(
    folder: Path,
    configs: dict[str, StageConfig] | None = None,
    *,
    force: tuple[str, ...] = (),
    first: str | None = None,
) -> list[StageResult]:
    """Run the toy pipeline with its home inside ``folder``."""
    plan = make_plan(STAGES, {**CONFIGS, **(configs or {})}, {"numbers": lambda: "digest"}, force=force, first=first)
    store = _store(folder)
    compute = LocalCompute(num_cpus=1, num_gpus=0)
    return run_plan(plan, store.home, store, compute, tags={"seed": "0"}, headline=lambda found: {"answer": 42.0})


def _reused(results: list[StageResult]) -> dict[str, bool]:
    return {result.name: result.reused for result in results}


def _position(results: list[StageResult]) -> dict[str, float]:
    position = json.loads((results[-1].folder / "position.json").read_text())
    assert isinstance(position, dict)
    return position


def _calls(folder: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text().splitlines()) for path in sorted(folder.glob("*.calls"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StageResult]]:
    folder = tmp_path_factory.mktemp("finished")
    return folder, run_toys(folder)


def test_every_stage_runs_once_and_reads_the_artifacts(finished: tuple[Path, list[StageResult]]) -> None:
    folder, results = finished
    assert _reused(results) == {"numbers": False, "total": False, "loop": False}
    assert _position(results) == {"position": 7.5, "from": 0}  # 0 + 1 + 2 + 3, and three steps of a half
    assert all(result.folder.is_relative_to(folder / "home" / "artifacts") for result in results)
    assert [path.suffix for path in (folder / "home" / "work").iterdir()] == [".lock"] * 3


def test_the_same_command_reuses_everything(finished: tuple[Path, list[StageResult]]) -> None:
    folder, results = finished
    before = _calls(folder)
    again = run_toys(folder)
    assert _reused(again) == {"numbers": True, "total": True, "loop": True}
    assert [result.folder for result in again] == [result.folder for result in results]
    assert _calls(folder) == before


def test_a_change_runs_what_it_reaches_again(finished: tuple[Path, list[StageResult]]) -> None:
    folder, _ = finished
    results = run_toys(folder, {"loop": LoopConfig(num_epochs=4)})
    assert _reused(results) == {"numbers": True, "total": True, "loop": False}
    results = run_toys(folder, {"total": SumConfig(factor=2.0)})
    assert _reused(results) == {"numbers": True, "total": False, "loop": False}
    assert _position(results)["position"] == 13.5


def test_force_and_from(finished: tuple[Path, list[StageResult]]) -> None:
    folder, results = finished
    forced = run_toys(folder, force=("loop",))
    assert _reused(forced) == {"numbers": True, "total": True, "loop": False}
    assert forced[-1].run_id != results[-1].run_id
    assert _reused(run_toys(folder, first="total")) == {"numbers": True, "total": False, "loop": False}


def test_the_marker_tells_how_a_result_was_made(finished: tuple[Path, list[StageResult]]) -> None:
    _, results = finished
    facts = json.loads((results[1].folder / "stage.json").read_text())
    first = json.loads((results[0].folder / "stage.json").read_text())
    assert facts["stage"] == "total"
    assert facts["config"] == {"factor": 1.0}
    assert facts["inputs"] == {"numbers": first["fingerprint"]}
    assert facts["run_id"] == results[1].run_id
    assert facts["seconds"] >= 0
    assert {"python", "torch", "ray", "mlflow"} <= set(facts["packages"])


def test_runs_are_nested_and_told_apart(finished: tuple[Path, list[StageResult]]) -> None:
    folder, results = finished
    client = mlflow_client(_store(folder).uri)
    run = client.get_run(results[-1].run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["stage"] == "loop"
    assert run.data.params["loop.step.size"] == "0.5"
    assert [m.value for m in client.get_metric_history(run.info.run_id, "position")] == [6.5, 7.0, 7.5]
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["answer"] == 42.0
    assert parent.data.params["numbers.count"] == "4"


def test_a_killed_pipeline_continues_and_ends_where_an_uninterrupted_one_does(
    finished: tuple[Path, list[StageResult]], tmp_path: Path
) -> None:
    _, uninterrupted = finished
    script = tmp_path / "driver.py"
    script.write_text(_DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TOY_DIE_IN_EPOCH": "2"}
    command = [sys.executable, str(script), str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL

    client = mlflow_client(_store(tmp_path).uri)
    experiment = client.get_experiment_by_name("toys").experiment_id
    left = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment], "status = 'RUNNING'")}
    assert set(left) == {"pipeline", "loop"}

    results = run_toys(tmp_path)
    assert _reused(results) == {"numbers": True, "total": True, "loop": False}
    assert _position(results) == {"position": _position(uninterrupted)["position"], "from": 2}
    assert _calls(tmp_path) == {"loop": 2, "numbers": 1, "total": 1}
    assert results[-1].run_id == left["loop"]
    assert client.get_run(left["pipeline"]).info.status == "KILLED"
    assert client.get_run(left["loop"]).info.status == "FINISHED"


def test_a_stage_killed_while_it_is_stored_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: RunStore, run_id: str, folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunStore, "upload", fail)
    with pytest.raises(KeyboardInterrupt):
        run_toys(tmp_path)
    monkeypatch.undo()
    run_toys(tmp_path)
    assert _calls(tmp_path)["numbers"] == 1


def test_an_error_marks_the_runs_and_a_second_try_continues(tmp_path: Path) -> None:
    def fail(*arguments: object) -> None:
        raise UserError("no GPU; use another machine")

    stages = (STAGES[0], replace(STAGES[1], run=fail))
    plan = make_plan(stages, CONFIGS, {})
    store = _store(tmp_path)
    compute = LocalCompute(num_cpus=1, num_gpus=0)
    with pytest.raises(UserError, match="no GPU"):
        run_plan(plan, store.home, store, compute, tags={}, headline=lambda found: {})
    client = mlflow_client(store.uri)
    runs = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert {run.info.run_name: run.info.status for run in runs} == {
        "pipeline": "FAILED",
        "total": "FAILED",
        "numbers": "FINISHED",
    }


def _work(home: Path) -> runner._Work:
    store = RunStore(Home(home), "http://127.0.0.1:9", "toys")
    return runner._Work(
        make_plan(STAGES, CONFIGS, {}), store.home, store, LocalCompute(num_cpus=1), "parent", STAGES[0]
    )


def test_a_server_that_went_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_SECONDS_FOR_SERVER", 0.0)

    def away() -> None:
        raise ConnectionRefusedError("connection refused")

    sentence = r"stopped answering \(connection refused\); what the numbers stage has done is kept"
    with pytest.raises(UserError, match=sentence):
        _work(tmp_path)._persist(away)


def test_a_server_that_comes_back_gets_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, True, True])
    monkeypatch.setattr(runner, "wait_for_store", lambda uri, seconds: next(answers))
    monkeypatch.setattr(runner, "_SECONDS_TO_NEXT_TRY", 0.0)
    errors: list[Exception] = [ConnectionRefusedError(), requests.Timeout()]

    def away_twice() -> str:
        if errors:
            raise errors.pop()
        return "stored"

    assert _work(tmp_path)._persist(away_twice) == "stored"


@pytest.mark.parametrize(
    ("error", "num_tries", "cause"),
    [
        (PermissionError(13, "Permission denied", "/srv/artifacts"), 1, "Permission denied: '/srv/artifacts'"),
        (requests.HTTPError("500 Server Error: INTERNAL SERVER ERROR for url: http://x"), 1, "500 Server Error"),
        (requests.HTTPError("403 Client Error: FORBIDDEN for url: http://x"), 1, "403 Client Error"),
        (requests.exceptions.RetryError("too many 500 error responses"), 1, "too many 500"),
        (requests.ConnectionError("Connection reset by peer"), 5, "reset by peer"),
        (requests.exceptions.RetryError("too many 503 error responses"), 5, "too many 503"),
    ],
)
def test_a_server_that_answers_and_refuses_ends_the_stage_in_a_sentence(
    error: Exception, num_tries: int, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "wait_for_store", lambda uri, seconds: True)
    pauses: list[float] = []
    monkeypatch.setattr("pipeline.runner.time.sleep", pauses.append)

    def refused() -> None:
        raise error

    with pytest.raises(UserError, match="answers, but does not take the results") as caught:
        _work(tmp_path)._persist(refused)
    assert cause in str(caught.value)
    assert "what the numbers stage has done is kept in" in str(caught.value)
    assert pauses == [2.0, 4.0, 8.0, 16.0][: num_tries - 1]


def test_a_stage_whose_artifacts_no_longer_serve_runs_again_and_later_ones_do_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_toys(tmp_path)
    before = _calls(tmp_path)
    moved = replace(STAGES[0], still_serves=lambda config, folder: not (folder / "numbers.json").is_file())
    plan = make_plan((moved, *STAGES[1:]), CONFIGS, {"numbers": lambda: "digest"})
    store = _store(tmp_path)
    compute = LocalCompute(num_cpus=1, num_gpus=0)
    with caplog.at_level("INFO"):
        results = run_plan(plan, store.home, store, compute, tags={}, headline=lambda found: {})
    assert _reused(results) == {"numbers": False, "total": True, "loop": True}
    assert _calls(tmp_path) == {**before, "numbers": before["numbers"] + 1}
    assert "numbers: known, but what it points to has moved" in caplog.text
