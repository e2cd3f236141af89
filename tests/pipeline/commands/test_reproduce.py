import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

_SETTINGS = {
    "data": {"synthetic": {"num_train_people": 6, "num_test_people": 3, "images_per_person": 6}},
    "identity": {"num_epochs": 1, "iterations_per_epoch": 2},
    "generator": {"num_epochs": 1},
    "joint": {"num_epochs": 1},
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tiny_run_beside_tiny_figures(tmp_path: Path) -> None:
    config, expected = tmp_path / "settings.json", tmp_path / "expected.json"
    config.write_text(json.dumps(_SETTINGS))
    figures = [{"encoder": "joint", "metric": "mAP", "value": 50, "tolerance": 50}]
    known = {"dataset": "synthetic", "preset": "tiny", "figures": figures, "source": "any score is right"}
    expected.write_text(json.dumps([known]))
    command = ["reproduce", "--config", str(config), "--expected", str(expected), "--executor", "local",
               "--num-cpus", "1", "--home", str(tmp_path / "home")]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "1 of 1 figures are within their tolerance" in done.stdout

    figures[0] |= {"value": 100, "tolerance": 0}
    expected.write_text(json.dumps([known]))
    done = CliRunner().invoke(app, command)  # everything is reused
    assert done.exit_code == 1, done.output
    assert "0 of 1 figures" in done.stdout


def test_a_mistake_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["reproduce", "--expected", str(tmp_path / "none"), "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr
