from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from infra.compute.local import LocalCompute
from infra.tracking.protocol import SilentTracker
from reid_core.data.manifest import Manifest, read_manifest
from reid_core.evaluation.plots.ranked_lists import RankedLists
from stages.data import DataConfig, run
from stages.evaluate import draw_lists, draw_maps
from tests.stages.pictures import write_people


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Eight query and eight gallery images of four people in two cameras."""
    out_dir = tmp_path / "data"
    out_dir.mkdir()
    config = DataConfig(dataset="folder", data_root=write_people(tmp_path / "people"), image_height=64, image_width=32)
    run(config, {}, out_dir, LocalCompute(num_cpus=1), SilentTracker())
    return read_manifest(out_dir / "manifest.parquet")


def test_three_pictures_of_ranked_lists(manifest: Manifest, tmp_path: Path) -> None:
    gallery = np.array([[0, 1, -1]] * 8)  # the last rank is past the end of the gallery that counts
    lists = RankedLists(gallery, np.ones((8, 3), np.float32), np.zeros((8, 3), bool))
    precision = np.array([0.1, 0.9, np.nan, 0.5, 0.2, 0.3, 0.4, 0.6])
    draw_lists(manifest, precision, lists, tmp_path / "pictures", num_queries=2, seed=0)
    sizes = set()
    for kind in ("random", "best", "worst"):
        with Image.open(tmp_path / "pictures" / f"ranked-lists-{kind}.png") as picture:
            sizes.add(picture.size)
    assert len(sizes) == 1, "two queries with two gallery images each"


def test_one_map_in_two_colourings(manifest: Manifest, tmp_path: Path) -> None:
    features = torch.nn.functional.normalize(torch.rand(16, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    sides = (features[:8], features[8:])
    draw_maps(manifest, sides, tmp_path / "pictures", num_images=16, seed=0)
    names = ["projection-cameras.png", "projection-people.png"]
    assert [path.name for path in sorted((tmp_path / "pictures").iterdir())] == names
    draw_maps(manifest, sides, tmp_path / "none", num_images=0, seed=0)
    assert not (tmp_path / "none").exists()
