from pathlib import Path

import numpy as np
from PIL import Image

from infra.compute.local import LocalCompute
from infra.tracking.silent import SilentTracker
from reid_core.data.manifest import read_manifest
from reid_core.evaluation.ranked_lists import RankedLists
from stages.data import DataConfig, run
from stages.evaluation_pictures import draw_lists
from tests.stages.pictures import write_people


def test_three_pictures_of_ranked_lists(tmp_path: Path) -> None:
    root = write_people(tmp_path / "people")
    out_dir = tmp_path / "data"
    out_dir.mkdir()
    config = DataConfig(dataset="folder", data_root=root, image_height=64, image_width=32)
    run(config, {}, out_dir, LocalCompute(num_cpus=1), SilentTracker())
    manifest = read_manifest(out_dir / "manifest.parquet")
    gallery = np.array([[0, 1, -1]] * 8)  # the last rank is past the end of the gallery that counts
    lists = RankedLists(gallery, np.ones((8, 3), np.float32), np.zeros((8, 3), bool))
    precision = np.array([0.1, 0.9, np.nan, 0.5, 0.2, 0.3, 0.4, 0.6])
    draw_lists(manifest, precision, lists, tmp_path / "pictures", num_queries=2, seed=0)
    sizes = set()
    for kind in ("random", "best", "worst"):
        with Image.open(tmp_path / "pictures" / f"ranked-lists-{kind}.png") as picture:
            sizes.add(picture.size)
    assert len(sizes) == 1, "two queries with two gallery images each"
