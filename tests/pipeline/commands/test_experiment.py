import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.experiment import parse_seeds
from reid_core.errors import UserError


def test_one_seed_or_several() -> None:
    assert parse_seeds(None, None) == ()
    assert parse_seeds(7, None) == (7,)
    assert parse_seeds(None, "0, 2 5") == (0, 2, 5)


@pytest.mark.parametrize("text", ["", "1,1", "one"])
def test_seeds_that_are_not_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--seeds wants"):
        parse_seeds(None, text)


def test_one_way_to_give_seeds_at_a_time() -> None:
    with pytest.raises(UserError, match="not both"):
        parse_seeds(1, "2,3")


def test_tune_options_reach_the_search(tmp_path: Path) -> None:
    options = ["--vary", "joint.lr=log(1e-4, 1e-2)", "--set", "joint.num_epochs=3", "--trials", "5", "--dry-run"]
    done = CliRunner().invoke(app, ["tune", *options, "--home", str(tmp_path / "home")])
    assert done.exit_code == 0, done.stderr
    assert "  listens to joint, 3 epochs a trial" in done.stdout
    assert "  trials     5" in done.stdout


def test_tune_a_number_that_is_none_is_refused() -> None:
    assert CliRunner().invoke(app, ["tune", "contrast", "--trials", "0"]).exit_code == 2


_SETTINGS = {
    "data": {"synthetic": {"num_train_people": 6, "num_test_people": 3, "images_per_person": 6}},
    "identity": {"num_epochs": 1, "iterations_per_epoch": 2},
    "generator": {"num_epochs": 1},
    "joint": {"num_epochs": 1},
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_reproduce_a_tiny_run_beside_tiny_figures(tmp_path: Path) -> None:
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


def test_reproduce_a_mistake_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["reproduce", "--expected", str(tmp_path / "none"), "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr


def test_ui_a_home_without_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execv", None)  # the command would replace the process of the tests
    done = CliRunner().invoke(app, ["ui", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "there are no runs in" in done.stderr
