from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from reid_core.evaluation.embed import read_features
from tests.pipeline.encoders import write_encoder
from tests.stages.pictures import write_crops, write_people


def test_embed_a_folder_becomes_a_table(tmp_path: Path) -> None:
    crops, weights = write_crops(tmp_path / "crops", 4), write_encoder(tmp_path / "identity.safetensors")
    out = tmp_path / "features.parquet"
    arguments = ["embed", str(crops), "--run", str(weights), "--out", str(out), "--flip", "--num-cpus", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert "4 pictures x 512 numbers" in done.stdout
    assert read_features(out).info["flip"] is True


def test_embed_a_folder_without_pictures_and_an_unknown_executor_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["embed", str(tmp_path), "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"genvar: {tmp_path} holds no pictures")
    write_crops(tmp_path, 1)
    weights = write_encoder(tmp_path / "identity.safetensors")
    done = CliRunner().invoke(app, ["embed", str(tmp_path), "--run", str(weights), "--executor", "slurm"])
    assert done.exit_code == 2
    assert "not one of 'ray', 'local'" in done.stderr


def test_search_one_picture_among_many(tmp_path: Path) -> None:
    people, weights = write_people(tmp_path / "people"), write_encoder(tmp_path / "identity.safetensors")
    query = sorted((people / "query").iterdir())[0]
    out = tmp_path / "found"
    arguments = ["search", str(query), str(people / "bounding_box_test"), "--run", str(weights), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--top", "2", "--num-cpus", "1"])
    assert done.exit_code == 0, done.stderr
    assert query.name in done.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        ".genvar-results",
        "hits.parquet",
        "hits.png",
        "thresholds.parquet",
    ]


def test_search_takes_one_way_to_the_threshold(tmp_path: Path) -> None:
    arguments = ["search", str(tmp_path), str(tmp_path), "--threshold", "0.5", "--max-false", "0.1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("genvar: --threshold and --max-false both decide the threshold")


def test_search_a_run_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")
    folders = [str(people / "query"), str(people / "bounding_box_test")]
    done = CliRunner().invoke(app, ["search", *folders, "--run", "no/such.safetensors"])
    assert done.exit_code == 2
    assert "no/such.safetensors, which does not exist" in done.stderr


def test_export_a_checked_file(tmp_path: Path) -> None:
    crops, weights = write_crops(tmp_path / "crops", 3), write_encoder(tmp_path / "identity.safetensors")
    out = tmp_path / "encoder.onnx"
    done = CliRunner().invoke(app, ["export", "--run", str(weights), "--out", str(out), "--pictures", str(crops)])
    assert done.exit_code == 0, done.stderr
    assert "RGB of 32 x 16 pixels" in done.stdout
    assert "differs from torch by at most" in done.stdout
    assert "0 to 255; all of it in encoder.onnx.metadata.json" in done.stdout
    assert out.is_file()


def test_export_for_another_program(tmp_path: Path) -> None:
    weights, out = write_encoder(tmp_path / "identity.safetensors"), tmp_path / "mine.onnx"
    arguments = ["export", "--run", str(weights), "--input", "imagenet", "--size", "64x32", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    for said in ("RGB of 64 x 32 pixels", "divide by 255, ImageNet's mean", "trained on 32 x 16", "put resnet50 into"):
        assert said in done.stdout
    done = CliRunner().invoke(app, ["export", "--run", str(weights), "--size", "big"])
    assert (done.exit_code, done.stderr.startswith("genvar: --size wants height x width")) == (2, True)


def test_export_another_suffix_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", "--out", str(tmp_path / "encoder.pt")])
    assert done.exit_code == 2
    assert "wants a file that ends in .onnx" in done.stderr
