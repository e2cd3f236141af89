"""An identity encoder as an ONNX file that says how to feed it, and the check that it computes what torch computes.

The only module that imports onnx and onnxruntime. B: images of a batch, H, W: image size, D: embedding size.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from reid_core.errors import UserError
from reid_core.models.identity import IdentityEncoder

INPUT, OUTPUT = "images", "embedding"
TOLERANCE = 1e-4  # largest difference of an entry of an L2-normalised embedding
_OPSET = 18


class _Embedding(nn.Module):
    """What the file computes: bytes in, unit vectors out, so that nothing is left to be done wrongly outside."""

    def __init__(self, encoder: IdentityEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Return L2-normalised embeddings (B, D) of RGB values from 0 to 255, (B, 3, H, W) float32."""
        return nn.functional.normalize(self.encoder(images / 127.5 - 1.0).embedding, dim=1)


def export_onnx(encoder: IdentityEncoder, path: Path, *, image_size: tuple[int, int], facts: dict[str, Any]) -> None:
    """Write an encoder as ONNX with any batch size; the preprocessing is in the file's metadata under ``genvar``.

    Args:
        encoder: In evaluation mode, on the CPU.
        path: File to write, whole or not at all.
        image_size: Height and width in pixels.
        facts: What else to say in the metadata; JSON values.
    """
    assert not encoder.training, "an encoder in training mode would export its batch statistics"
    height, width = image_size
    part = path.with_name(f"{path.name}.part")
    with warnings.catch_warnings():
        # The exporter through TorchScript is the one that needs no further package; torch would like the newer one.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Embedding(encoder).eval(),
            (torch.zeros(2, 3, height, width),),
            str(part),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load(part)
    entry = model.metadata_props.add()
    entry.key, entry.value = "genvar", json.dumps({**preprocessing(image_size), **facts}, sort_keys=True)
    model.doc_string = "Person re-identification: L2-normalised embeddings, to be compared by their scalar product."
    onnx.checker.check_model(model)
    onnx.save(model, part)
    part.replace(path)


def preprocessing(image_size: tuple[int, int]) -> dict[str, Any]:
    """Say how a picture becomes the input, and what the output is; ``image_size`` is (H, W)."""
    return {
        "input": {
            "name": INPUT,
            "layout": "batch, channel, height, width",
            "dtype": "float32",
            "channels": "RGB",
            "height": image_size[0],
            "width": image_size[1],
            "resize": "bicubic with antialiasing (Pillow), to exactly this size, not keeping the aspect ratio",
            "value_range": [0, 255],
            "normalisation": "inside the file: to [-1, 1], then ImageNet's mean and deviation",
        },
        "output": {"name": OUTPUT, "normalised": "L2", "compare": "scalar product (cosine similarity)"},
    }


def run_onnx(path: Path, images: Tensor) -> np.ndarray:
    """Run a file on the CPU.

    Args:
        path: What ``export_onnx`` wrote.
        images: RGB bytes, (B, 3, H, W).

    Returns:
        Embeddings, (B, D) float32.
    """
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(f"{path} cannot be run as ONNX ({str(error).splitlines()[0]}); export it again") from error
    [found] = session.run([OUTPUT], {INPUT: images.float().numpy()})
    result: np.ndarray = found
    return result


def largest_difference(path: Path, encoder: IdentityEncoder, images: Tensor, *, batch_size: int) -> float:
    """Return how far ONNX and torch are apart at most.

    Args:
        path: What ``export_onnx`` wrote.
        encoder: The same encoder, in evaluation mode, on the CPU.
        images: RGB bytes, (N, 3, H, W).
        batch_size: Images of one call.

    Returns:
        Largest absolute difference of an entry of any embedding.
    """
    differences = []
    with torch.no_grad():
        for batch in torch.split(images, batch_size):
            expected = nn.functional.normalize(encoder(batch.float() / 127.5 - 1.0).embedding, dim=1)
            differences.append(float(np.abs(run_onnx(path, batch) - expected.numpy()).max()))
    return max(differences)
