from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli import app
from tests.pipeline.encoders import write_encoder
from tests.stages.pictures import write_crops


def test_a_checked_file(tmp_path: Path) -> None:
    crops, weights = write_crops(tmp_path / "crops", 3), write_encoder(tmp_path / "identity.safetensors")
    out = tmp_path / "encoder.onnx"
    done = CliRunner().invoke(app, ["export", "--run", str(weights), "--out", str(out), "--pictures", str(crops)])
    assert done.exit_code == 0, done.stderr
    assert "RGB of 32 x 16 pixels" in done.stdout
    assert "differs from torch by at most" in done.stdout
    assert out.is_file()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", "--out", str(tmp_path / "encoder.pt")])
    assert done.exit_code == 2
    assert "wants a file that ends in .onnx" in done.stderr
