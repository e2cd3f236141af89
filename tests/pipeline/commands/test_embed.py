from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from reid_core.evaluation.embed import read_features
from tests.pipeline.encoders import write_encoder
from tests.stages.pictures import write_crops


def test_a_folder_becomes_a_table(tmp_path: Path) -> None:
    crops, weights = write_crops(tmp_path / "crops", 4), write_encoder(tmp_path / "identity.safetensors")
    out = tmp_path / "features.parquet"
    arguments = ["embed", str(crops), "--run", str(weights), "--out", str(out), "--flip", "--num-cpus", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert "4 pictures x 512 numbers" in done.stdout
    assert read_features(out).info["flip"] is True


def test_a_folder_without_pictures_and_an_unknown_executor_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["embed", str(tmp_path), "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"genvar: {tmp_path} holds no pictures")
    write_crops(tmp_path, 1)
    weights = write_encoder(tmp_path / "identity.safetensors")
    done = CliRunner().invoke(app, ["embed", str(tmp_path), "--run", str(weights), "--executor", "slurm"])
    assert done.exit_code == 2
    assert "not one of 'local', 'ray'" in done.stderr
