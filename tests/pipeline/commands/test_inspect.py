from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from reid_core.mesh.cache import write_shard
from tests.reid_core.mesh.some_bodies import INFO, some_bodies, some_maps
from tests.stages.pictures import write_people


def test_show_a_home_without_runs_is_a_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["show", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "genvar: there are no runs in" in done.stderr


def test_show_amounts_are_bounded(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["show", "--home", str(tmp_path), "--num-people", "1"])
    assert done.exit_code == 2
    assert "--num-people" in done.stderr


def test_compare_a_home_without_runs_is_a_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["compare", "some run", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert "genvar: there are no runs in" in done.stderr


def test_data_check_prints_a_table_and_ends_well(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", "folder", "--data-root", str(write_people(tmp_path / "people"))])
    assert done.exit_code == 0
    assert "gallery" in done.stdout


def test_data_a_mistake_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "check", "market1501", "--data-root", str(tmp_path)])
    assert done.exit_code == 2
    assert "genvar: market1501 was not found" in done.stderr
    done = CliRunner().invoke(app, ["data", "check", "msmt17", "--data-root", str(tmp_path), "--train-split", "val"])
    assert "'val' is not one of 'trainval', 'train'" in done.stderr


def test_mesh_a_cache_is_shown(tmp_path: Path) -> None:
    bodies = some_bodies("ok", "no_person", "ok")
    write_shard(tmp_path / "mesh_cache" / "part-00000.parquet", ["a", "b", "c"], bodies, some_maps(), INFO)
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(app, ["mesh", "inspect", str(tmp_path), "--out", str(sheet)])
    assert done.exit_code == 0, done.output
    assert "no_person" in done.stdout
    assert "66.7%" in done.stdout
    assert sheet.is_file()


def test_mesh_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["mesh", "inspect", str(tmp_path)])
    assert done.exit_code == 2
    assert "should hold a mesh cache" in done.stderr
    assert "inspect" in CliRunner().invoke(app, ["mesh"]).output
