from pathlib import Path

import pytest

from infra.home import Home
from pipeline import export_encoder as module
from pipeline.export_encoder import (
    BOXMOT_NAMES,
    check_out,
    default_name,
    export_encoder,
    parse_size,
    plan_export,
)
from pipeline.trained_encoder import TrainedEncoder, find_encoder
from reid_core.errors import UserError
from reid_core.models.identity import ARCHITECTURES
from reid_core.models.onnx_export import TOLERANCE
from tests.pipeline.encoders import SIZE, write_encoder
from tests.stages.pictures import write_crops


@pytest.fixture
def encoder(tmp_path: Path) -> TrainedEncoder:
    return find_encoder(str(write_encoder(tmp_path / "identity.safetensors")), Home(tmp_path))


def test_checked_on_random_and_real_pictures(tmp_path: Path, encoder: TrainedEncoder) -> None:
    crops = write_crops(tmp_path / "crops")
    (crops / "broken.jpg").write_text("no picture")
    assert export_encoder(plan_export(encoder, tmp_path / "encoder.onnx", "genvar", None), crops) < TOLERANCE
    assert (tmp_path / "encoder.onnx").is_file()
    assert not list(tmp_path.glob("*.unchecked"))


@pytest.mark.parametrize("difference", [2 * TOLERANCE, float("nan")])
def test_a_file_that_differs_never_appears(
    tmp_path: Path, encoder: TrainedEncoder, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    monkeypatch.setattr(module, "largest_difference", lambda *arguments, **options: difference)
    with pytest.raises(UserError, match="the exported file differs from torch"):
        export_encoder(plan_export(encoder, tmp_path / "encoder.onnx", "genvar", None), None)
    assert [path.name for path in tmp_path.iterdir()] == ["identity.safetensors"]


def test_pictures_must_be_readable(tmp_path: Path, encoder: TrainedEncoder) -> None:
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "broken.jpg").write_text("no picture")
    with pytest.raises(UserError, match="none of the pictures in"):
        export_encoder(plan_export(encoder, tmp_path / "encoder.onnx", "genvar", None), tmp_path / "crops")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_names_without_out_are_those_that_the_programs_read(arch: str) -> None:
    assert default_name(arch, "genvar") == "encoder.onnx"
    # BoxMOT's loader: the first known name that the file's name holds; lmbn and clip would mean other sizes.
    name = default_name(arch, "imagenet")
    assert any(known in name for known in BOXMOT_NAMES)
    assert not any(other in name for other in ("lmbn", "clip", "vehicleid"))
    # Ultralytics takes a model for a classifier, not a detector, by this ending.
    assert Path(default_name(arch, "unit")).stem.endswith("-cls")


def test_sizes_are_those_that_the_programs_feed(tmp_path: Path, encoder: TrainedEncoder) -> None:
    for kind, size in (("genvar", SIZE), ("imagenet", (256, 128)), ("unit", (224, 224))):
        assert plan_export(encoder, None, kind, None).image_size == size  # type: ignore[arg-type]
        assert plan_export(encoder, tmp_path / "folder", kind, None).image_size == SIZE  # type: ignore[arg-type]
        assert plan_export(encoder, None, kind, (64, 48)).image_size == (64, 48)  # type: ignore[arg-type]
    assert parse_size("256x128") == parse_size("256, 128") == (256, 128)
    for wrong in ("256", "x", "8x4", "256x128x3", "9999x16", "-64x64"):
        with pytest.raises(UserError, match="--size wants height x width of 16 to 2048 pixels"):
            parse_size(wrong)


def test_out_is_a_file_or_a_folder(tmp_path: Path) -> None:
    for good in (None, tmp_path, tmp_path / "new", tmp_path / "encoder.onnx"):
        check_out(good)
    (tmp_path / "file").touch()
    for wrong, sentence in (("encoder.pt", "ends in .onnx"), ("file", "no folder"), ("no/encoder.onnx", "no folder")):
        with pytest.raises(UserError, match=sentence):
            check_out(tmp_path / wrong)


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, encoder: TrainedEncoder) -> None:
    (tmp_path / "encoder.onnx.metadata.json").mkdir()
    with pytest.raises(UserError, match=r"encoder\.onnx\.metadata\.json.*name another place with --out"):
        export_encoder(plan_export(encoder, tmp_path / "encoder.onnx", "genvar", None), None)
    assert not (tmp_path / "encoder.onnx").exists()
