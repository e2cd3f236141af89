import itertools
from pathlib import Path

from PIL import Image

from reid_core.evaluation.plots.clusters import draw_sizes, size_bins


def test_bins_by_hand() -> None:
    assert size_bins([1, 2, 2, 4, 9]) == [(1, 1, 1), (2, 2, 2), (3, 4, 1), (5, 8, 0), (9, 16, 1)]
    assert size_bins([]) == []


def test_every_cluster_is_in_one_bin() -> None:
    sizes = list(range(1, 200))
    bins = size_bins(sizes)
    assert sum(count for _, _, count in bins) == len(sizes)
    assert all(high + 1 == low for (_, high, _), (low, _, _) in itertools.pairwise(bins))


def test_a_picture_is_written_even_of_no_cluster(tmp_path: Path) -> None:
    for name, sizes in (("some.png", [4, 4, 17]), ("none.png", [])):
        draw_sizes(sizes, 5, tmp_path / name)
        assert Image.open(tmp_path / name).size == (600, 300)
