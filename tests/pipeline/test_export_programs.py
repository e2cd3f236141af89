"""Exported files fed as other programs feed them equal the torch encoder on the same pixels.

What a program does with a crop is written here from its documents; none of them is installed.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import v2 as transforms

from infra.home import Home
from pipeline import export_encoder as module
from pipeline.export_encoder import Export, export_encoder, plan_export
from pipeline.trained_encoder import TrainedEncoder, find_encoder
from reid_core.models.onnx_export import InputKind
from reid_core.models.weights import load_identity
from tests.pipeline.encoders import write_encoder

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TrainedEncoder:
    folder = tmp_path_factory.mktemp("weights")
    return find_encoder(str(write_encoder(folder / "identity.safetensors")), Home(folder))


def _crops() -> list[np.ndarray]:
    """Crops of people as OpenCV reads them: (H, W, 3) bytes, blue first."""
    random = np.random.default_rng(0)
    small = [random.integers(0, 256, (8, 4, 3), dtype=np.uint8) for _ in range(3)]
    return [cv_resize(one, (w, h)) for one, (h, w) in zip(small, ((180, 70), (256, 128), (300, 160)), strict=True)]


def cv_resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Do what cv2.resize does by default: bilinear without antialiasing, to (W, H)."""
    values = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    resized = F.interpolate(values, size=(size[1], size[0]), mode="bilinear", align_corners=False)
    return resized[0].round().byte().permute(1, 2, 0).numpy()


def _export(encoder: TrainedEncoder, out: Path, kind: InputKind) -> Export:
    plan = plan_export(encoder, out, kind, None)
    with pytest.MonkeyPatch.context() as patch:  # its own check is not needed: the tests compare themselves
        patch.setattr(module, "largest_difference", lambda *arguments, **options: 0.0)
        export_encoder(plan, None)
    return plan


@pytest.fixture(scope="module")
def for_imagenet(tmp_path_factory: pytest.TempPathFactory, encoder: TrainedEncoder) -> Export:
    return _export(encoder, tmp_path_factory.mktemp("onnx") / "resnet50_mine.onnx", "imagenet")


def _run(path: Path, batch: np.ndarray) -> np.ndarray:
    """Run a file as a program does that knows nothing of it: first input, first output."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == "tensor(float)"
    found: np.ndarray = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: batch})[0]
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return found


def _torch(encoder: TrainedEncoder, pixels: np.ndarray) -> np.ndarray:
    """Embed RGB values from 0 to 255, (B, H, W, 3), in torch."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        return F.normalize(load_identity(encoder.weights)(images / 127.5 - 1).embedding, dim=1).numpy()


def test_boxmot(for_imagenet: Export, encoder: TrainedEncoder) -> None:
    resized = np.stack([cv_resize(crop, (128, 256))[:, :, ::-1] for crop in _crops()])  # BGR to RGB
    batch = ((resized.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(_run(for_imagenet.path, batch), _torch(encoder, resized.copy()), atol=1e-3)


def test_torchreid(for_imagenet: Export, encoder: TrainedEncoder) -> None:
    resize = transforms.Resize((256, 128))
    pictures = [resize(Image.fromarray(crop[:, :, ::-1].copy())) for crop in _crops()]
    to_tensor = [transforms.ToImage(), transforms.ToDtype(torch.float32, scale=True)]
    normalise = transforms.Compose([*to_tensor, transforms.Normalize(MEAN.tolist(), STD.tolist())])
    batch = torch.stack([normalise(picture) for picture in pictures]).numpy()
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    np.testing.assert_allclose(_run(for_imagenet.path, batch), _torch(encoder, pixels), atol=1e-3)


def test_ultralytics(tmp_path: Path, encoder: TrainedEncoder) -> None:
    # The transforms of a classification model: short side to 224, centre, 0 to 1.
    plan = _export(encoder, tmp_path / "mine-cls.onnx", "unit")
    crop = transforms.Compose([transforms.Resize(224), transforms.CenterCrop(224)])
    pixels = np.stack([np.asarray(crop(Image.fromarray(one[:, :, ::-1].copy()))) for one in _crops()])
    batch = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    np.testing.assert_allclose(_run(plan.path, batch), _torch(encoder, pixels), atol=1e-3)
    # What its loader asks of metadata that is there at all.
    properties = {entry.key: entry.value for entry in onnx.load(plan.path).metadata_props}
    assert (int(properties["stride"]), int(properties["batch"]), properties["task"]) == (32, 1, "classify")
    assert (properties["imgsz"], properties["names"]) == ("[224, 224]", "{0: 'person'}")


@pytest.mark.parametrize("kind", ["genvar", "imagenet", "unit"])
def test_roboflow_reid(tmp_path: Path, encoder: TrainedEncoder, kind: InputKind) -> None:
    _export(encoder, tmp_path / "folder", kind)
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {
        "model.onnx",
        "model.onnx.metadata.json",
        "reid_config.json",
    }
    config = json.loads((tmp_path / "folder" / "reid_config.json").read_text())
    assert config["to_rgb"] is config["normalize_embeddings"] is True
    assert config["interpolation"] == "bicubic"
    height, width = config["input_size"]
    pictures = [Image.fromarray(crop[:, :, ::-1].copy()) for crop in _crops()]
    pixels = np.stack([np.asarray(one.resize((width, height), Image.Resampling.BICUBIC)) for one in pictures])
    values = (pixels.astype(np.float32) / 255 - np.float32(config["mean"])) / np.float32(config["std"])
    found = _run(tmp_path / "folder" / "model.onnx", values.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(found, _torch(encoder, pixels), atol=1e-3)


def test_the_file_beside_it_says_how_to_feed_it(for_imagenet: Export) -> None:
    facts = json.loads(for_imagenet.path.with_name("resnet50_mine.onnx.metadata.json").read_text())
    assert (facts["input"]["kind"], facts["input"]["height"], facts["input"]["width"]) == ("imagenet", 256, 128)
    assert (facts["input"]["mean"], facts["input"]["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (facts["embedding_dim"], facts["architecture"]) == (512, "resnet10")
    inside = next(entry.value for entry in onnx.load(for_imagenet.path).metadata_props if entry.key == "genvar")
    assert facts["input"] == json.loads(inside)["input"]


def test_a_file_that_is_fed_wrongly_finds_everybody_alike(tmp_path: Path, encoder: TrainedEncoder) -> None:
    # The sign that the documents name: values from 0 to 1 where 0 to 255 are wanted.
    plan = _export(encoder, tmp_path / "encoder.onnx", "genvar")
    height, width = plan.image_size
    pixels = np.stack([cv_resize(crop, (width, height)) for crop in _crops()]).astype(np.float32).transpose(0, 3, 1, 2)
    right, wrong = (_run(plan.path, batch) for batch in (pixels, pixels / 255))
    assert (right @ right.T).min() < 0.99 < (wrong @ wrong.T).min()
