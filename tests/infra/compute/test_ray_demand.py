import logging
import time

import pytest

from infra.compute import ray_demand
from infra.compute.ray_demand import Demand, seconds_to_wait, shortage, wait_for
from reid_core.errors import UserError

_TWO_GPUS = [{"CPU": 8.0, "GPU": 1.0, "memory": 16e9}, {"CPU": 8.0, "GPU": 1.0, "memory": 16e9}]
_TRAINING = Demand("joint training", {"CPU": 1, "GPU": 1}, 4, "lower joint.num_ranks")


def test_what_fits_is_no_shortage() -> None:
    assert shortage(Demand("joint training", {"CPU": 1, "GPU": 1}, 2), _TWO_GPUS) is None
    assert shortage(Demand("a pool", {}, 5), _TWO_GPUS) is None


def test_the_sentence_names_what_is_wanted_and_what_is_there() -> None:
    assert shortage(_TRAINING, _TWO_GPUS) == "joint training asks for 4 GPUs, the cluster has 2"
    assert shortage(_TRAINING, []) == "joint training asks for 4 GPUs, the cluster has 0"
    pool = Demand("the pool of ClusterWorker", {"memory": 40e9}, 1)
    assert shortage(pool, _TWO_GPUS) == "the pool of ClusterWorker asks for 40.0 GB of memory, the cluster has 32.0"


def test_a_process_needs_all_of_it_on_one_node() -> None:
    found = shortage(Demand("Extracting meshes", {"CPU": 12}), _TWO_GPUS)
    assert found is not None
    assert "1 x (12 CPUs), each on one node" in found
    assert "room for 0" in found


def test_where_nodes_cannot_come_it_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_demand, "node_resources", lambda: _TWO_GPUS)
    with pytest.raises(UserError, match=r"^joint training asks for 4 GPUs, the cluster has 2; lower joint.num_ranks$"):
        wait_for(_TRAINING, grows=False)


def test_nodes_that_come_are_waited_for_and_told_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = iter([_TWO_GPUS, _TWO_GPUS, [*_TWO_GPUS, {"CPU": 8.0, "GPU": 2.0}]])
    monkeypatch.setattr(ray_demand, "node_resources", lambda: next(looks))
    monkeypatch.setattr(ray_demand, "_tell_autoscaler", lambda demand: None)
    monkeypatch.setattr(ray_demand, "_SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(logging.getLogger("infra"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="infra"):
        wait_for(_TRAINING, grows=True)
    assert "joint training asks for 4 GPUs, the cluster has 2: waiting up to 600 s for nodes" in caplog.messages[0]
    assert caplog.messages[-1] == "the cluster has what joint training asks for"


def test_waiting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENVAR_CLUSTER_WAIT", "0.05")
    monkeypatch.setattr(ray_demand, "node_resources", lambda: _TWO_GPUS)
    monkeypatch.setattr(ray_demand, "_tell_autoscaler", lambda demand: None)
    monkeypatch.setattr(ray_demand, "_SECONDS_BETWEEN_LOOKS", 0.01)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"lower joint\.num_ranks, or add nodes"):
        wait_for(_TRAINING, grows=True)
    assert time.monotonic() - start < 5


def test_how_long_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENVAR_CLUSTER_WAIT", "long")
    with pytest.raises(UserError, match='should be a number of seconds, but is "long"'):
        seconds_to_wait()
