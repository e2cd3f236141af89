from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app


def test_a_home_without_runs_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["ui", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "there are no runs in" in done.stderr
