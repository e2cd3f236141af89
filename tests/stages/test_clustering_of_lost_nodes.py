"""Clustering on a cluster that loses a node in the middle of the search: replaced, and the same labels."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.compute.simulated import ROOT, simulated_cluster

_DRIVER = """
import sys

import numpy as np

from infra.compute.ray import RayCompute
from reid_core.clustering.worker import ClusterWorker
from stages.training.clustering import ClusterConfig, pseudo_labels

if __name__ == "__main__":
    draws = np.random.default_rng(0)
    features = np.repeat(draws.normal(size=(1000, 256)), 14, axis=0) + 0.6 * draws.normal(size=(14_000, 256))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    compute, config = RayCompute(), ClusterConfig(k1=20, num_workers=2)
    compute.prepare([])
    workers = compute.start_workers(ClusterWorker, 2)
    undisturbed = pseudo_labels(features, workers, config).labels
    print("again", undisturbed.max() + 1, flush=True)
    disturbed = pseudo_labels(features, workers, config).labels
    print("equal" if np.array_equal(undisturbed, disturbed) else "different", flush=True)
    workers.stop()
    compute.close()
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_lost_during_the_search_changes_no_label(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(_DRIVER)
    with simulated_cluster([0, 1, 1]) as cluster, (tmp_path / "errors").open("w+") as errors:
        driver = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=ROOT,
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert driver.stdout is not None
        word, number = driver.stdout.readline().split()
        assert word == "again"
        assert int(number) > 100  # there is something to get wrong
        cluster.remove(cluster.wait_for_work("_PoolActor.call", [1, 2]))
        # Ray prints the last words of the lost node in between.
        outcome = [line for line in driver.stdout if line in ("equal\n", "different\n")]
        errors.seek(0)
        assert outcome == ["equal\n"], errors.read()[-3000:]
        assert driver.wait(120) == 0
