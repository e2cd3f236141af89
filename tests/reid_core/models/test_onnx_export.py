import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from reid_core.data.images import as_float
from reid_core.errors import UserError
from reid_core.models.identity import IdentityEncoder
from reid_core.models.onnx_export import TOLERANCE, export_onnx, largest_difference, open_onnx, run_onnx
from reid_core.seeds import initialised

SIZE = (32, 16)


def _encoder() -> IdentityEncoder:
    encoder = initialised(lambda: IdentityEncoder("resnet10"), 0)
    with torch.no_grad():  # statistics and scales as after a training, so that a forgotten one would show
        for name, value in encoder.state_dict().items():
            if name.endswith(("running_var", "bn1.weight", "neck.weight")):
                value.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return encoder.eval()


def _images(num: int) -> Tensor:
    return torch.randint(0, 256, (num, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    export_onnx(_encoder(), path, image_size=SIZE, facts={"title": "a test"})
    return path


@pytest.mark.parametrize("batch_size", [1, 5])
def test_equals_torch_for_any_batch(exported: Path, batch_size: int) -> None:
    assert largest_difference(exported, _encoder(), _images(7), batch_size=batch_size) < TOLERANCE / 10


def test_the_file_does_all_of_the_preprocessing_but_the_resize(exported: Path) -> None:
    found = run_onnx(open_onnx(exported), _images(3))
    expected = _encoder()(as_float(_images(3))).embedding.detach()
    np.testing.assert_allclose(found, torch.nn.functional.normalize(expected, dim=1).numpy(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_the_metadata_says_how_to_feed_it(exported: Path) -> None:
    model = onnx.load(exported)
    facts = json.loads(next(entry.value for entry in model.metadata_props if entry.key == "genvar"))
    assert (facts["input"]["height"], facts["input"]["width"], facts["input"]["channels"]) == (*SIZE, "RGB")
    assert facts["input"]["value_range"] == [0, 255]
    assert facts["title"] == "a test"
    [entry] = model.graph.input
    sizes = [dimension.dim_param or dimension.dim_value for dimension in entry.type.tensor_type.shape.dim]
    assert (entry.name, sizes) == ("images", ["batch", 3, *SIZE])
    assert [path.name for path in exported.parent.iterdir()] == ["encoder.onnx"], "nothing half-written is left"


def test_other_weights_are_noticed(exported: Path) -> None:
    other = initialised(lambda: IdentityEncoder("resnet10"), 5).eval()
    assert largest_difference(exported, other, _images(2), batch_size=2) > 100 * TOLERANCE


def test_refuses_what_is_no_onnx_file_and_encoders_in_training(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UserError, match=r"text\.onnx cannot be run as ONNX"):
        open_onnx(tmp_path / "text.onnx")
    with pytest.raises(AssertionError, match="training mode"):
        export_onnx(_encoder().train(), tmp_path / "x.onnx", image_size=SIZE, facts={})
