import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.compute.local import LocalCompute
from infra.home import Home
from pipeline.embed_pictures import check_output, embed_pictures
from pipeline.trained_encoder import TrainedEncoder, find_encoder
from reid_core.errors import UserError
from reid_core.evaluation.embed import find_pictures
from tests.pipeline.encoders import write_encoder
from tests.stages.pictures import write_crops


@pytest.fixture
def compute() -> Iterator[LocalCompute]:
    local = LocalCompute(num_cpus=1)
    yield local
    local.close()


@pytest.fixture
def encoder(tmp_path: Path) -> TrainedEncoder:
    return find_encoder(str(write_encoder(tmp_path / "identity.safetensors")), Home(tmp_path))


def test_pictures_are_found_at_any_depth_and_hidden_ones_are_not(tmp_path: Path) -> None:
    crops = write_crops(tmp_path / "crops", 3)
    (crops / "deeper").mkdir()
    (crops / "crop 1.jpg").rename(crops / "deeper" / "x.JPG")
    (crops / ".thumbnails").mkdir()
    (crops / "crop 2.jpg").rename(crops / ".thumbnails" / "y.jpg")
    (crops / "notes.txt").touch()
    assert find_pictures(crops) == (crops, ["crop 0.jpg", "deeper/x.JPG"])
    assert find_pictures(crops / "crop 0.jpg") == (crops, ["crop 0.jpg"])


def test_rows_are_named_and_alike_pictures_have_alike_features(
    tmp_path: Path, compute: LocalCompute, encoder: TrainedEncoder
) -> None:
    crops = write_crops(tmp_path / "crops", 3)
    (crops / "copy.jpg").write_bytes((crops / "crop 1.jpg").read_bytes())
    found = embed_pictures(crops, encoder, compute)
    assert found.image_ids == ("copy.jpg", "crop 0.jpg", "crop 1.jpg", "crop 2.jpg")
    np.testing.assert_allclose(found.vectors @ found.vectors[0], 1, atol=1)
    np.testing.assert_allclose(found.vectors[0], found.vectors[2], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    assert (found.root, found.info["encoder"], found.info["flip"]) == (crops, encoder.digest, False)


def test_unreadable_pictures_are_named_counted_and_passed_over(
    tmp_path: Path, compute: LocalCompute, encoder: TrainedEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    crops = write_crops(tmp_path / "crops", 3)
    for index in range(7):
        (crops / f"broken {index}.jpg").write_text("no picture")
    with caplog.at_level(logging.WARNING):
        found = embed_pictures(crops, encoder, compute)
    assert found.image_ids == ("crop 0.jpg", "crop 1.jpg", "crop 2.jpg")
    [message] = caplog.messages
    assert message.startswith(f"7 of 10 pictures in {crops} passed over: broken 0.jpg: it cannot be decoded")
    assert message.endswith("; and 2 more")


def test_refusals_are_one_sentence(tmp_path: Path, compute: LocalCompute, encoder: TrainedEncoder) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none holds no pictures"):
        find_pictures(tmp_path / "none")
    with pytest.raises(UserError, match="gone does not exist"):
        find_pictures(tmp_path / "gone")
    (tmp_path / "none" / "broken.png").write_text("no picture")
    with pytest.raises(UserError, match=r"none of the 1 pictures in .* can be read"):
        embed_pictures(tmp_path / "none", encoder, compute)
    with pytest.raises(UserError, match=r"wants a file that ends in \.parquet"):
        check_output(tmp_path / "x.csv", ".parquet")
    with pytest.raises(UserError, match="which is a folder or lies in none that exists"):
        check_output(tmp_path / "gone" / "x.parquet", ".parquet")
