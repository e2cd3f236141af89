from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from reid_core.mesh.cache import write_shard
from tests.reid_core.mesh.some_bodies import INFO, some_bodies, some_maps


def test_a_cache_is_shown(tmp_path: Path) -> None:
    bodies = some_bodies("ok", "no_person", "ok")
    write_shard(tmp_path / "mesh_cache" / "part-00000.parquet", ["a", "b", "c"], bodies, some_maps(), INFO)
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(app, ["mesh", "inspect", str(tmp_path), "--out", str(sheet)])
    assert done.exit_code == 0, done.output
    assert "no_person" in done.stdout
    assert "66.7%" in done.stdout
    assert sheet.is_file()


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["mesh", "inspect", str(tmp_path)])
    assert done.exit_code == 2
    assert "should hold a mesh cache" in done.stderr
    assert "inspect" in CliRunner().invoke(app, ["mesh"]).output
