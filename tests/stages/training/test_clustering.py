import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from infra.compute.local import LocalCompute
from infra.compute.protocol import Workers
from infra.compute.ray import RayCompute
from reid_core.clustering.worker import ClusterWorker
from reid_core.errors import UserError
from stages.training import clustering
from stages.training.clustering import (
    ClusterConfig,
    pseudo_labels,
    read_pseudo_labels,
    start_cluster_workers,
    write_pseudo_labels,
)


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[int, Workers]]:
    compute = LocalCompute(num_cpus=2)
    yield {num: compute.start_workers(ClusterWorker, num) for num in (1, 2, 4)}
    compute.close()


class SlowClusterWorker(ClusterWorker):
    """Takes its time, so that it can be killed in the middle."""

    def search(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(0.1)
        return super().search(*arguments)

    def process(self) -> int:
        time.sleep(0.05)
        return os.getpid()

    def threads(self) -> str:
        return os.environ["OMP_NUM_THREADS"]


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
    found = [
        pseudo_labels(features, pools[num], ClusterConfig(k1=12, k2=3, eps=0.4, min_samples=4)) for num in (1, 2, 4)
    ]
    np.testing.assert_array_equal(found[0].labels, [*np.repeat(np.arange(6), 12), -1])
    np.testing.assert_array_equal(found[0].labels, found[1].labels)
    np.testing.assert_array_equal(found[0].labels, found[2].labels)
    assert (found[0].num_clusters, found[0].num_outliers, found[0].note) == (6, 1, "")


def test_images_of_one_tracklet_share_a_cluster(pools: dict[int, Workers]) -> None:
    features = np.concatenate([_groups(6, 12), -_groups(1, 1)])
    tracklets = np.full(len(features), -1)
    tracklets[[0, 12]] = 4  # of the first two groups
    tracklets[[30, 72]] = 9  # of the third group, and the outlier
    config = ClusterConfig(k1=12, k2=3, eps=0.4, min_samples=4)
    found = pseudo_labels(features, pools[1], config, tracklets=tracklets)
    np.testing.assert_array_equal(found.labels, [*np.repeat([0, 0, 1, 2, 3, 4], 12), 1])
    assert (found.num_clusters, found.num_outliers) == (5, 0)


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_worker_killed_in_the_middle_of_the_search_is_replaced(
    executor: str, pools: dict[int, Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustering, "_BLOCK", 10)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    features = np.concatenate([_groups(6, 12), -_groups(1, 1)])
    config = ClusterConfig(k1=12, k2=3, eps=0.4)
    expected = pseudo_labels(features, pools[1], config).labels
    compute = LocalCompute(num_cpus=2) if executor == "local" else RayCompute(num_cpus=2)
    try:
        workers = compute.start_workers(SlowClusterWorker, 2)
        np.testing.assert_array_equal(pseudo_labels(features, workers, config).labels, expected)
        before = set(workers.map("process", [()] * 6))
        killer = Timer(0.3, os.kill, (min(before), signal.SIGKILL))
        killer.start()
        np.testing.assert_array_equal(pseudo_labels(features, workers, config).labels, expected)
        killer.join()
        assert min(before) not in workers.map("process", [()] * 6)
    finally:
        compute.close()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_inverted_lists_that_are_all_searched_give_the_exact_labels(
    pools: dict[int, Workers], num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustering, "_BLOCK_OF_LISTS", 25)
    features = _groups(6, 12)
    exact = pseudo_labels(features, pools[1], ClusterConfig(k1=12, k2=3, eps=0.4))
    config = ClusterConfig(k1=12, k2=3, eps=0.4, neighbours="ivf", num_lists=9, num_probed=9)
    found = pseudo_labels(features, pools[num_workers], config)
    np.testing.assert_array_equal(found.labels, exact.labels)
    assert (exact.recall, found.recall) == (None, 1.0)


def test_a_fixed_number_of_lists_is_kept_and_its_recall_measured(pools: dict[int, Workers]) -> None:
    config = ClusterConfig(k1=12, k2=3, eps=0.4, neighbours="ivf", num_lists=12, num_probed=1)
    found = pseudo_labels(_groups(6, 12), pools[1], config)
    assert found.recall is not None
    assert 0.3 < found.recall < 1


def test_lists_are_probed_until_the_recall_is_enough_or_the_search_is_exact(
    pools: dict[int, Workers], caplog: pytest.LogCaptureFixture
) -> None:
    # A list a person and lists of neighbours no longer than that: one list is enough; for longer ones it is not.
    features = _groups(16, 12)
    easy = pseudo_labels(features, pools[1], ClusterConfig(k1=4, k2=3, eps=0.4, neighbours="ivf", target_recall=0.7))
    assert easy.recall is not None
    assert easy.recall >= 0.7
    config = ClusterConfig(k1=40, k2=3, eps=0.4, neighbours="ivf", target_recall=1.0)
    hard = pseudo_labels(features, pools[1], config)
    assert hard.recall is None
    assert "neighbours are searched exactly" in caplog.text
    exact = pseudo_labels(features, pools[1], replace(config, neighbours="exact"))
    np.testing.assert_array_equal(hard.labels, exact.labels)


def test_each_worker_has_its_share_of_the_processors() -> None:
    compute = LocalCompute(num_cpus=4)
    try:
        assert start_cluster_workers(compute, ClusterConfig(num_workers=2)).num_workers == 2
        workers = compute.start_workers(SlowClusterWorker, 1, cpus=2)
        assert workers.map("threads", [()]) == ["2"]
    finally:
        compute.close()


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
    with pytest.raises(UserError, match="in images 3, 4, 5, 6, 7 and 2 more: training diverged"):
        pseudo_labels(features, pools[1], ClusterConfig(k1=5, k2=1, eps=0.5, min_samples=2))


def test_what_kind_of_array_comes_does_not_matter(pools: dict[int, Workers]) -> None:
    config = ClusterConfig(k1=12, k2=3, eps=0.4)
    features = _groups(6, 12)
    expected = pseudo_labels(features, pools[1], config).labels
    lengths = np.linspace(0.1, 40, len(features))[:, None].astype(np.float32)
    kinds: dict[str, np.ndarray] = {
        "not normalised": features * lengths,
        "half precision": features.astype(np.float16),
        "double precision": features.astype(np.float64),
        "column-wise": np.asfortranarray(features),
        "every second row": np.repeat(features, 2, axis=0)[::2],
        "read-only": np.frombuffer(features.tobytes(), dtype=np.float32).reshape(features.shape),
    }
    for kind, array in kinds.items():
        np.testing.assert_array_equal(pseudo_labels(array, pools[1], config).labels, expected, err_msg=kind)


def test_one_image_and_equal_images_have_labels(pools: dict[int, Workers]) -> None:
    one = pseudo_labels(np.array([[3.0, 4.0]]), pools[1], ClusterConfig())
    assert (one.labels.tolist(), one.num_clusters) == ([0], 1)
    equal = pseudo_labels(np.tile(np.array([[3.0, 4.0]]), (80, 1)), pools[1], ClusterConfig())
    assert len(equal.labels) == 80
    assert equal.num_clusters >= 2


def test_arrays_that_are_no_features_are_refused(pools: dict[int, Workers]) -> None:
    for shape in [(0, 4), (4, 0), (4,), (2, 2, 2)]:
        with pytest.raises(UserError, match=re.escape(str(shape))):
            pseudo_labels(np.zeros(shape), pools[1], ClusterConfig())
    features = _groups(2, 5)
    features[3] = 0
    with pytest.raises(UserError, match="all 0 in image 3, which is no direction"):
        pseudo_labels(features, pools[1], ClusterConfig())


def test_cameras_are_wanted_where_they_count(pools: dict[int, Workers]) -> None:
    features, config = _groups(6, 12), ClusterConfig(k1=12, k2=3, eps=0.4, min_cameras=2)
    with pytest.raises(UserError, match="min_cameras=2 wants the camera of every image"):
        pseudo_labels(features, pools[1], config)
    cameras = np.tile([0, 1], 36)
    cameras[:12] = 0
    found = pseudo_labels(features, pools[1], config, cameras=cameras)
    assert (found.num_clusters, found.num_outliers, found.num_dropped) == (5, 12, 12)


def test_a_long_search_tells_how_far_it_is(
    pools: dict[int, Workers], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clustering, "_BLOCK", 36)
    monkeypatch.setattr(clustering, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO"):
        pseudo_labels(_groups(6, 12), pools[1], ClusterConfig(k1=12, k2=3, eps=0.4))
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["searching neighbours: 36 of 72 images"]


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
    with pytest.raises(ValidationError, match="less than 1"):
        ClusterConfig(eps=1.0)


def test_camera_means_are_taken_away_where_asked(pools: dict[int, Workers]) -> None:
    # Ten people under two cameras that add a colour of their own, far larger than what tells people apart.
    rng = np.random.default_rng(1)
    people = np.repeat(rng.normal(size=(10, 32)), 8, axis=0) + 0.1 * rng.normal(size=(80, 32))
    cameras = np.tile(np.arange(2), 40)
    features = people + 20 * rng.normal(size=(2, 32))[cameras]
    config = ClusterConfig(k1=8, k2=2, min_samples=3)
    plain = pseudo_labels(features, pools[1], config, cameras=cameras)
    centred = pseudo_labels(features, pools[1], replace(config, centre_cameras=True), cameras=cameras)
    truth = np.repeat(np.arange(10), 8)
    assert len(set(zip(truth.tolist(), centred.labels.tolist(), strict=True))) == 10  # people and clusters coincide
    assert len(set(zip(truth.tolist(), plain.labels.tolist(), strict=True))) > 10


def test_centring_wants_cameras(pools: dict[int, Workers]) -> None:
    with pytest.raises(UserError, match="centre_cameras wants the camera"):
        pseudo_labels(_groups(4, 5), pools[1], ClusterConfig(centre_cameras=True))
