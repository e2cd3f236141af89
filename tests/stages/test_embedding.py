from pathlib import Path

import numpy as np
import pytest
import torch

from infra.compute.local import LocalCompute
from reid_core.data.images import load_images
from reid_core.evaluation.embed import embed
from reid_core.models.identity import IdentityEncoder
from reid_core.models.weights import identity_header, save_weights
from stages import embedding
from stages.embedding import embed_images
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
