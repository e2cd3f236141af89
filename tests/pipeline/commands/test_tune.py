from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app


def test_options_reach_the_search(tmp_path: Path) -> None:
    options = ["--vary", "joint.lr=log(1e-4, 1e-2)", "--set", "joint.num_epochs=3", "--trials", "5", "--dry-run"]
    done = CliRunner().invoke(app, ["tune", *options, "--home", str(tmp_path / "home")])
    assert done.exit_code == 0, done.stderr
    assert "  listens to joint, 3 epochs a trial" in done.stdout
    assert "  trials     5" in done.stdout


def test_a_number_that_is_none_is_refused() -> None:
    assert CliRunner().invoke(app, ["tune", "contrast", "--trials", "0"]).exit_code == 2
