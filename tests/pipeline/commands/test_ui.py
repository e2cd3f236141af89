import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app


def test_a_home_without_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execv", None)  # the command would replace the process of the tests
    done = CliRunner().invoke(app, ["ui", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "there are no runs in" in done.stderr
