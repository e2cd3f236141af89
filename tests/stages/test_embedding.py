from pathlib import Path

import numpy as np
import pytest
import torch

from infra.compute.local import LocalCompute
from reid_core.data.images import load_images
from reid_core.evaluation.embed import embed
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import identity_header, load_identity, save_weights
from stages import embedding
from stages.embedding import embed_images, embed_readable
from tests.stages.pictures import write_crops


def test_shards_equal_one_pass_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_SHARD", 5)
    torch.manual_seed(0)
    encoder = IdentityEncoder("resnet10").eval()
    save_weights(encoder, tmp_path / "identity.safetensors", identity_header(encoder, (64, 32)))
    paths = sorted(write_crops(tmp_path / "crops").iterdir())
    compute = LocalCompute(num_cpus=1)
    features = embed_images(tmp_path / "identity.safetensors", paths, (64, 32), compute, description="Embedding")
    compute.close()
    expected = embed(encoder, load_images(paths, (64, 32)), batch_size=12, device="cpu").numpy()
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)


def _weights(folder: Path) -> Path:
    torch.manual_seed(0)
    encoder = IdentityEncoder("resnet10").eval()
    save_weights(encoder, folder / "identity.safetensors", identity_header(encoder, (64, 32)))
    return folder / "identity.safetensors"


def test_what_cannot_be_read_is_passed_over_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_SHARD", 3)
    weights = _weights(tmp_path)
    good = sorted(write_crops(tmp_path / "crops").iterdir())[:3]
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    paths = [good[0], tmp_path / "text.jpg", good[1], *[tmp_path / "empty.png"] * 3, good[2]]
    compute = LocalCompute(num_cpus=1)
    found = embed_readable(weights, paths, (64, 32), compute, description="Embedding")
    nothing = embed_readable(weights, paths[3:6], (64, 32), compute, description="Embedding")
    compute.close()
    assert found.indices.tolist() == [0, 2, 6]
    assert sorted(found.problems) == [1, 3, 4, 5]
    assert "cannot be decoded" in found.problems[1]
    assert found.problems[4] == "the file is empty"
    expected = embed(load_identity(weights), load_images(good, (64, 32)), batch_size=3, device="cpu").numpy()
    np.testing.assert_allclose(found.features, expected, atol=1e-5)
    assert len(nothing.indices) == 0
    assert len(nothing.features) == 0


def test_flip_adds_the_mirrored_image(tmp_path: Path) -> None:
    weights = _weights(tmp_path)
    paths = sorted(write_crops(tmp_path / "crops").iterdir())[:4]
    compute = LocalCompute(num_cpus=1)
    found = embed_images(weights, paths, (64, 32), compute, description="Embedding", flip=True)
    plain = embed_images(weights, paths, (64, 32), compute, description="Embedding")
    compute.close()
    assert np.abs(found - plain).max() > 1e-4
    images = load_images(paths, (64, 32))
    expected = embed(load_identity(weights), images, batch_size=4, device="cpu", flip=True).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
