"""An identity encoder as an ONNX file that says how to feed it, and the check that it computes what torch computes.

The only module that imports onnx and onnxruntime. B: images of a batch, H, W: image size, D: embedding size.
"""

import json
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from reid_core.errors import UserError
from reid_core.models.identity import IdentityEncoder, ResNetBackbone

INPUT, OUTPUT = "images", "embedding"
TOLERANCE = 1e-4  # largest difference of an entry of an L2-normalised embedding
_OPSET = 18


class PixelInput(NamedTuple):
    """How pixels are fed to a file: each colour as (value from 0 to 1, minus mean) / deviation.

    Attributes:
        mean: Of red, green, blue.
        std: Deviation of red, green, blue.
        value_range: From lowest to highest value that is fed; None where it differs by colour.
        done_outside: What the program that feeds the file does itself.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    value_range: tuple[float, float] | None
    done_outside: str

    def feed(self, images: Tensor) -> Tensor:
        """Return what is fed for RGB bytes, (B, 3, H, W) float32."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (images.float() / 255 - mean) / std


InputKind = Literal["genvar", "imagenet", "unit"]
# Where normalisation happens: inside; outside, by ImageNet; or half, as 0 to 1.
INPUTS: dict[InputKind, PixelInput] = {
    "genvar": PixelInput((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255), (0, 255), "nothing: values stay from 0 to 255"),
    "imagenet": PixelInput(
        ResNetBackbone.pixel_mean, ResNetBackbone.pixel_std, None, "divide by 255, ImageNet's mean and deviation"
    ),
    "unit": PixelInput((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0, 1), "divide by 255"),
}


class _Embedding(nn.Module):
    """An encoder behind its pixel input: unit vectors come out, so that they are compared without further work."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: IdentityEncoder, pixels: PixelInput) -> None:
        super().__init__()
        self.encoder = encoder
        # To [-1, 1], in which an encoder of genvar thinks.
        self.register_buffer("std", 2 * torch.tensor(pixels.std).view(3, 1, 1))
        self.register_buffer("mean", 2 * torch.tensor(pixels.mean).view(3, 1, 1) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return L2-normalised embeddings (B, D) of RGB values as fed, (B, 3, H, W) float32."""
        return nn.functional.normalize(self.encoder(images * self.std + self.mean).embedding, dim=1)


def export_onnx(
    encoder: IdentityEncoder,
    path: Path,
    *,
    image_size: tuple[int, int],
    facts: dict[str, Any],
    kind: InputKind = "genvar",
) -> None:
    """Write an encoder as ONNX with any batch size; the preprocessing is in the file's metadata under ``genvar``.

    Args:
        encoder: In evaluation mode, on the CPU.
        path: File to write, whole or not at all.
        image_size: Height and width in pixels.
        facts: What else to say in the metadata; JSON values.
        kind: Where normalisation happens.
    """
    assert not encoder.training, "an encoder in training mode would export its batch statistics"
    height, width = image_size
    part = path.with_name(f"{path.name}.part")
    with warnings.catch_warnings():
        # The exporter through TorchScript is the one that needs no further package; torch would like the newer one.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Embedding(encoder, INPUTS[kind]).eval(),
            (torch.zeros(2, 3, height, width),),
            str(part),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load(part)
    properties = {"genvar": json.dumps({**preprocessing(image_size, kind), **facts}, sort_keys=True)}
    if kind == "unit":
        # Ultralytics takes any metadata for its own and stops where one of these is missing.
        properties |= {"task": "classify", "stride": "32", "batch": "1", "names": "{0: 'person'}"}
        properties["imgsz"] = str([height, width])
    onnx.helper.set_model_props(model, properties)
    model.doc_string = "Person re-identification: L2-normalised embeddings, to be compared by their scalar product."
    onnx.checker.check_model(model)
    onnx.save(model, part)
    part.replace(path)


def preprocessing(image_size: tuple[int, int], kind: InputKind = "genvar") -> dict[str, Any]:
    """Say how a picture becomes the input, and what the output is; ``image_size`` is (H, W)."""
    pixels = INPUTS[kind]
    return {
        "input": {
            "name": INPUT,
            "kind": kind,
            "layout": "batch, channel, height, width",
            "dtype": "float32",
            "channels": "RGB",
            "height": image_size[0],
            "width": image_size[1],
            "resize": "bicubic with antialiasing (Pillow), to exactly this size, not keeping the aspect ratio",
            "value_range": pixels.value_range,
            "mean": pixels.mean,
            "std": pixels.std,
            "done_outside": pixels.done_outside,
            "normalisation": "inside the file: from what is fed to what the encoder was trained on",
        },
        "output": {"name": OUTPUT, "normalised": "L2", "compare": "scalar product (cosine similarity)"},
    }


def open_onnx(path: Path) -> onnxruntime.InferenceSession:
    """Open a file, to be run on the CPU."""
    options = onnxruntime.SessionOptions()
    # Threads that wait busily for the next call would take the processors from torch, which runs in between.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"{path} cannot be run as ONNX ({str(error).splitlines()[0]}); export it again") from error


def run_onnx(session: onnxruntime.InferenceSession, images: Tensor) -> np.ndarray:
    """Run a file.

    Args:
        session: Of ``open_onnx``.
        images: As the file is fed, (B, 3, H, W).

    Returns:
        Embeddings, (B, D) float32.
    """
    [found] = session.run([OUTPUT], {INPUT: images.float().numpy()})
    result: np.ndarray = found
    return result


def largest_difference(
    path: Path, encoder: IdentityEncoder, images: Tensor, *, batch_size: int, kind: InputKind = "genvar"
) -> float:
    """Return how far ONNX and torch are apart at most.

    Args:
        path: What ``export_onnx`` wrote.
        encoder: The same encoder, in evaluation mode, on the CPU.
        images: RGB bytes, (N, 3, H, W).
        batch_size: Images of one call.
        kind: Where normalisation happens.

    Returns:
        Largest absolute difference of an entry of any embedding.
    """
    differences, session = [], open_onnx(path)
    with torch.no_grad():
        for batch in torch.split(images, batch_size):
            expected = nn.functional.normalize(encoder(batch.float() / 127.5 - 1.0).embedding, dim=1)
            differences.append(float(np.abs(run_onnx(session, INPUTS[kind].feed(batch)) - expected.numpy()).max()))
    return max(differences)
