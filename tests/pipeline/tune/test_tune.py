"""``genvar tune`` through the command line; the search itself over a real pipeline is slow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

_ROOT = Path(__file__).parents[3]
_SETTINGS = {
    "data": {"synthetic": {"num_train_people": 6, "num_test_people": 3, "images_per_person": 6}},
    "identity": {"num_epochs": 1, "iterations_per_epoch": 2, "monitor_every": 1},
    "generator": {"num_epochs": 1, "pictures_every": 1},
    "joint": {"num_epochs": 4, "pictures_every": 9, "monitor_every": 1},
}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.cli", "tune", *arguments]


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}


def _tune(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), cwd=_ROOT, env=_environment(), capture_output=True, text=True, check=False
    )


def test_a_dry_run_shows_the_search_and_writes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["tune", "contrast", "--dry-run", "--trials", "8", "--home", str(tmp_path / "home")])
    assert done.exit_code == 0, done.stderr
    for line in (
        "  listens to joint, 8 epochs a trial",
        "  shared     data (would be run), mesh (would be run), identity (would be run), "
        "generator (would be run), cluster (would be run)",
        "  pruning    after 2, 4 epochs, the best one in 2 goes on",
        "  varies     joint.lr=log(0.0005, 0.01)",
    ):
        assert line in done.stdout.splitlines()
    assert "silhouette-all, max" in done.stdout
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "a search wants something to vary"),
        (["contrasts"], "a search space is one of contrast, clustering, generator or a YAML file"),
        (["--vary", "joint.lrr=log(1e-4, 1e-2)"], "did you mean joint.lr?"),
        (["--vary", "joint.num_epochs=int(2, 4)"], "joint.num_epochs is what trials are compared over"),
        (["contrast", "--objective", "cycle"], "do not depend on the searched settings of joint"),
        (["contrast", "--trials", "2", "--concurrency", "3"], "more than 2 trials"),
        (["--vary", "report.x=int(1, 2)"], "report"),
        (["--vary", "data.dataset=choice(synthetic, market1501)"], "market1501"),
        (["contrast", "--set", "joint.num_epochs=0"], "joint.num_epochs is 0"),
        (["contrast", "--reduction", "1"], "--reduction 1 lets every trial go on"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["tune", *arguments, "--home", str(tmp_path / "home")])
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_that_was_killed_keeps_its_finished_trials(tmp_path: Path) -> None:
    config = tmp_path / "settings.json"
    config.write_text(json.dumps(_SETTINGS))
    home = tmp_path / "home"
    arguments = ["--vary", "joint.lr=log(1e-4, 1e-2)", "--trials", "6", "--grace-epochs", "2", "--concurrency", "2"]
    arguments += ["--config", str(config), "--home", str(home)]

    driver = subprocess.Popen(_command(*arguments), cwd=_ROOT, env=_environment())
    end = time.monotonic() + 600
    while not (finished := _finished(home)):
        assert driver.poll() is None
        assert time.monotonic() < end
        time.sleep(0.5)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    kept = {path: path.read_text() for path in finished}

    done = _tune(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": reused") == 5  # the stages that all trials share ran once
    [folder] = [path for path in (home / "searches").iterdir() if path.is_dir()]
    found = json.loads((folder / "results" / "search.json").read_text())
    assert len(found["trials"]) == 6
    assert {trial["status"] for trial in found["trials"]} <= {"done", "pruned"}
    assert sum(trial["status"] == "pruned" for trial in found["trials"]) >= 1
    assert {path: path.read_text() for path in kept} == kept
    assert "genvar pipeline --config" in done.stdout
    assert (folder / "results" / "parallel-coordinates.png").is_file()


def _finished(home: Path) -> list[Path]:
    records = list((home / "searches").glob("*/trials/*.json"))
    return [path for path in records if json.loads(path.read_text())["status"] == "done"]
