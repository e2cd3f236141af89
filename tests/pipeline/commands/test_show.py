from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app


def test_a_home_without_runs_is_a_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["show", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "genvar: there are no runs in" in done.stderr


def test_amounts_are_bounded(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["show", "--home", str(tmp_path), "--num-people", "1"])
    assert done.exit_code == 2
    assert "--num-people" in done.stderr
