from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reid_core.data.images import load_images
from reid_core.data.manifest import read_manifest, write_manifest
from reid_core.errors import UserError
from reid_core.learning.generation import edge_guidance
from reid_core.mesh.body import no_bodies
from reid_core.mesh.cache import open_mesh_cache, write_shard
from reid_core.models.weights import load_identity
from stages.training.data import (
    ANGLES,
    GuidanceSource,
    check_angles,
    check_split,
    embed_training_images,
    read_training_images,
    set_learning_rate,
)


def test_guidance_of_a_batch_is_the_cache_at_zero_and_at_each_images_angle(
    upstream: dict[str, Path], tmp_path: Path
) -> None:
    images = read_training_images(upstream["data"], tmp_path, torch.device("cpu"))
    guidance = GuidanceSource(upstream["mesh"], images.view.image_ids)
    index = torch.tensor([3, 0, 5])
    pixels = images.batch(index, torch.device("cpu"))
    still, turned = guidance.pair(index, torch.tensor([90, 315, 90]), pixels)
    every = guidance.all_angles(index, pixels)
    assert every.shape == (3, 8, 64, 32)
    torch.testing.assert_close(still[:, 0], every[:, 0])
    for row, angle in enumerate((90, 315, 90)):
        torch.testing.assert_close(turned[row, 0], every[row, 1 + ANGLES.index(angle)])


def test_a_mesh_cache_of_other_images_is_refused(upstream: dict[str, Path], tmp_path: Path) -> None:
    images = read_training_images(upstream["data"], tmp_path, torch.device("cpu"))
    GuidanceSource(upstream["mesh"], images.view.image_ids, upstream["data"])
    manifest = read_manifest(upstream["data"] / "manifest.parquet")
    write_manifest(replace(manifest, table=manifest.table.slice(1)), tmp_path / "manifest.parquet", root=".")
    with pytest.raises(UserError, match="was made for other images"):
        GuidanceSource(upstream["mesh"], images.view.image_ids, tmp_path)


def test_images_whose_body_is_in_doubt_keep_their_edges(upstream: dict[str, Path], tmp_path: Path) -> None:
    images = read_training_images(upstream["data"], tmp_path, torch.device("cpu"))
    names = images.view.image_ids[:2]
    info = open_mesh_cache(upstream["mesh"] / "mesh_cache").info
    statuses = no_bodies(["no_person", "low_confidence"])
    write_shard(tmp_path / "mesh_cache" / "part-00000.parquet", names, statuses, torch.zeros(2, 8, 64, 32).byte(), info)
    guidance = GuidanceSource(tmp_path, names)
    assert not guidance.has_mesh.any()
    index = torch.tensor([0, 1])
    pixels = images.batch(index, torch.device("cpu"))
    still, turned = guidance.pair(index, torch.tensor([45, 90]), pixels)
    assert torch.equal(still, edge_guidance(pixels))
    assert torch.equal(turned, still)


def test_pictures_are_decoded_once_and_found_again(upstream: dict[str, Path], tmp_path: Path) -> None:
    first = read_training_images(upstream["data"], tmp_path / "scratch", torch.device("cpu"))
    height, width = first.size
    expected = load_images(first.view.paths, (height, width))
    assert torch.equal(first.pixels, expected)
    file = tmp_path / "scratch" / "pixels.bin"
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]

    # Another start reads the file, whatever it holds; one that is not whole is written again.
    length = file.stat().st_size
    file.write_bytes(bytes(length))
    assert not read_training_images(upstream["data"], file.parent, torch.device("cpu")).pixels.any()
    file.write_bytes(b"cut short")
    again = read_training_images(upstream["data"], file.parent, torch.device("cpu"))
    assert torch.equal(again.pixels, expected)


def test_embeddings_are_normalised_and_in_order(upstream: dict[str, Path], tmp_path: Path) -> None:
    images = read_training_images(upstream["data"], tmp_path, torch.device("cpu"))
    encoder = load_identity(upstream["identity"] / "identity.safetensors")
    features = embed_training_images(encoder, images, torch.device("cpu"), batch_size=7)
    with torch.no_grad():
        alone = torch.nn.functional.normalize(
            encoder(images.batch(torch.tensor([9]), torch.device("cpu"))).embedding, dim=1
        )
    torch.testing.assert_close(features[9:10], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(images)))


def test_angles_are_those_of_the_cache() -> None:
    check_angles((45, 315))
    with pytest.raises(UserError, match="360"):
        check_angles((45, 360))


def test_learning_rate_of_every_group() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.SGD([{"params": [weight], "lr": 1.0} for weight in weights])
    set_learning_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]


def test_batches_split_over_ranks_and_groups() -> None:
    check_split("joint", 16, 2, 8)
    check_split("joint", 16, 1)
    with pytest.raises(UserError, match="joint: a batch of 16 images does not split by num_ranks=3"):
        check_split("joint", 16, 3)
    with pytest.raises(UserError, match="batch_norm_images=5"):
        check_split("joint", 16, 2, 5)
    with pytest.raises(UserError, match="choose 2 or more"):
        check_split("joint", 16, 2, 1)
