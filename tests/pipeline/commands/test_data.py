from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from tests.stages.pictures import write_people


def test_check_prints_a_table_and_ends_well(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", "folder", "--data-root", str(write_people(tmp_path / "people"))])
    assert done.exit_code == 0
    assert "gallery" in done.stdout


def test_a_mistake_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", "market1501", "--data-root", str(tmp_path)])
    assert done.exit_code == 2
    assert "genvar: market1501 was not found" in done.stderr
    done = CliRunner().invoke(app, ["data", "check", "msmt17", "--data-root", str(tmp_path), "--train-split", "val"])
    assert "--train-split wants trainval or train" in done.stderr
