from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from tests.pipeline.encoders import write_encoder
from tests.stages.pictures import write_people


def test_one_picture_among_many(tmp_path: Path) -> None:
    people, weights = write_people(tmp_path / "people"), write_encoder(tmp_path / "identity.safetensors")
    query = sorted((people / "query").iterdir())[0]
    out = tmp_path / "found"
    arguments = ["search", str(query), str(people / "bounding_box_test"), "--run", str(weights), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--top", "2", "--num-cpus", "1"])
    assert done.exit_code == 0, done.stderr
    assert query.name in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["hits.parquet", "hits.png"]


def test_a_run_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")
    folders = [str(people / "query"), str(people / "bounding_box_test")]
    done = CliRunner().invoke(app, ["search", *folders, "--run", "no/such.safetensors"])
    assert done.exit_code == 2
    assert "no/such.safetensors, which does not exist" in done.stderr
