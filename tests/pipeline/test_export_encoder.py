from pathlib import Path

import pytest

from infra.home import Home
from pipeline import export_encoder as module
from pipeline.export_encoder import export_encoder
from pipeline.trained_encoder import TrainedEncoder, find_encoder
from reid_core.errors import UserError
from reid_core.models.onnx_export import TOLERANCE
from tests.pipeline.encoders import write_encoder
from tests.stages.pictures import write_crops


@pytest.fixture
def encoder(tmp_path: Path) -> TrainedEncoder:
    return find_encoder(str(write_encoder(tmp_path / "identity.safetensors")), Home(tmp_path))


def test_checked_on_random_and_real_pictures(tmp_path: Path, encoder: TrainedEncoder) -> None:
    crops = write_crops(tmp_path / "crops")
    (crops / "broken.jpg").write_text("no picture")
    assert export_encoder(encoder, tmp_path / "encoder.onnx", crops) < TOLERANCE
    assert (tmp_path / "encoder.onnx").is_file()
    assert not list(tmp_path.glob("*.unchecked"))


@pytest.mark.parametrize("difference", [2 * TOLERANCE, float("nan")])
def test_a_file_that_differs_never_appears(
    tmp_path: Path, encoder: TrainedEncoder, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    monkeypatch.setattr(module, "largest_difference", lambda *arguments, **options: difference)
    with pytest.raises(UserError, match="the exported file differs from torch"):
        export_encoder(encoder, tmp_path / "encoder.onnx", None)
    assert [path.name for path in tmp_path.iterdir()] == ["identity.safetensors"]


def test_pictures_must_be_readable(tmp_path: Path, encoder: TrainedEncoder) -> None:
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "broken.jpg").write_text("no picture")
    with pytest.raises(UserError, match="none of the pictures in"):
        export_encoder(encoder, tmp_path / "encoder.onnx", tmp_path / "crops")
