import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import cli

_ROOT = Path(__file__).parents[2]


def _genvar(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    everything = {**kept, "GENVAR_HOME": str(home), **environment}
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, env=everything, timeout=120, check=False)


def test_help_is_quick_and_shows_the_first_command(tmp_path: Path) -> None:
    code = "import sys, pipeline.cli; sys.exit(any(n in sys.modules for n in ('torch', 'ray', 'mlflow', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=False).returncode == 0
    done = _genvar("pipeline", "--help", home=tmp_path)
    assert done.returncode == 0
    assert "genvar pipeline joint.num_epochs=3" in done.stdout


def test_a_dry_run_shows_the_plan_and_every_setting_and_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = tmp_path / "experiment.json"
    config.write_text(json.dumps({"preset": "small", "joint": {"num_epochs": 7}}))
    done = _genvar("pipeline", "--dry-run", "--config", str(config), "identity.lr=1e-4", "--seed", "5", home=home)
    assert done.returncode == 0, done.stderr
    for line in ("joint.num_epochs=7", "identity.lr=0.0001", "joint.seed=5", "data.image_height=128"):
        assert line in done.stdout.splitlines()
    assert "data.synthetic.seed=0" in done.stdout.splitlines()
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["joint.num_epoch=3"], "did you mean joint.num_epochs?"),
        (["joint.num_epochs=-1"], "joint.num_epochs: should be greater than or equal to 0, but -1 came"),
        (["--until", "joined"], "--until wants one of data, mesh"),
        (["--seeds", "0,0"], "--seeds wants different whole numbers"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = _genvar("pipeline", "--dry-run", *arguments, home=tmp_path / "home")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "home").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = _genvar("pipeline", "--debug", "joint.num_epoch=3", home=tmp_path / "home")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_ctrl_c_says_how_to_continue(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "pipeline", "--executor", "local", "--until", "data"]
    environment = {**os.environ, "GENVAR_HOME": str(tmp_path)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    driver = subprocess.Popen(
        command,
        cwd=_ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A shell starts what it runs in the background with Ctrl-C ignored, and the tests may run there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert driver.stderr is not None
    assert driver.stderr.readline() == "data: running\n"
    time.sleep(1.0)
    driver.send_signal(signal.SIGINT)
    rest = driver.stderr.read()
    assert driver.wait() == 130
    assert rest.splitlines()[-1] == "genvar: interrupted; the same command continues where this one stopped"
    assert "Traceback" not in rest


def test_waiting_threads_do_not_spin_long_unless_the_user_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", lambda: None)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    cli.main()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    cli.main()
    assert os.environ["GOMP_SPINCOUNT"] == "3000"
    monkeypatch.delenv("GOMP_SPINCOUNT")
