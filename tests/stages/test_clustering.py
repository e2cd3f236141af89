from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from infra.compute.local import LocalCompute
from infra.compute.protocol import Workers
from reid_core.clustering.settings import LabelSettings
from reid_core.clustering.worker import ClusterWorker
from reid_core.errors import UserError
from stages import clustering
from stages.clustering import ClusterConfig, pseudo_labels, read_pseudo_labels, write_pseudo_labels


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[int, Workers]]:
    compute = LocalCompute(num_cpus=2)
    yield {num: compute.start_workers(ClusterWorker, num) for num in (1, 2)}
    compute.close()


def _groups(num_groups: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(num_groups, 32)), size, axis=0) + 0.3 * rng.normal(
        size=(num_groups * size, 32)
    )
    normalised: np.ndarray = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def test_groups_are_found_whatever_the_number_of_workers(
    pools: dict[int, Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustering, "_BLOCK", 25)
    features = np.concatenate([_groups(6, 12), -_groups(1, 1)])
    found = [pseudo_labels(features, pools[num], ClusterConfig(k1=12, k2=3, eps=0.4, min_samples=4)) for num in (1, 2)]
    np.testing.assert_array_equal(found[0].labels, [*np.repeat(np.arange(6), 12), -1])
    np.testing.assert_array_equal(found[0].labels, found[1].labels)
    assert found[0][1:4] == (6, 1, "")


def test_the_fallback_is_explained_in_the_log(pools: dict[int, Workers], caplog: pytest.LogCaptureFixture) -> None:
    collapsed = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (9, 1))
    found = pseudo_labels(collapsed, pools[1], ClusterConfig(k1=9, k2=3, eps=0.5, min_samples=4))
    assert (found.num_clusters, found.num_outliers) == (9, 0)
    assert "its own class" in found.note
    assert found.note in caplog.text


def test_a_diverged_training_is_told(pools: dict[int, Workers]) -> None:
    features = _groups(2, 5)
    features[3, 0] = np.nan
    features[4:, 1] = np.inf
    with pytest.raises(UserError, match="in rows 3, 4, 5, 6, 7 and 2 more: training diverged"):
        pseudo_labels(features, pools[1], ClusterConfig(k1=5, k2=1, eps=0.5, min_samples=2))


def test_labels_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "pseudo_labels" / "epoch-0000.parquet"
    write_pseudo_labels(path, ["train-000000", "train-000001"], np.array([3, -1]))
    names, labels = read_pseudo_labels(path)
    assert names == ("train-000000", "train-000001")
    assert labels.tolist() == [3, -1]
    with pytest.raises(AssertionError):
        write_pseudo_labels(path, ["train-000000"], np.array([3, -1]))


def test_the_papers_values_are_the_defaults_and_bounds_hold() -> None:
    config = ClusterConfig()
    assert (config.k1, config.k2, config.eps, config.min_samples) == (30, 6, 0.55, 4)
    assert (config.algorithm, config.neighbours, config.reliable_only, config.min_cameras) == (
        "dbscan",
        "exact",
        False,
        1,
    )
    assert config.label_settings() == LabelSettings()
    with pytest.raises(ValidationError, match="less than 1"):
        ClusterConfig(eps=1.0)
