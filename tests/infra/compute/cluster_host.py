"""A cluster of several Ray nodes on this machine, in a process of its own; driven through standard input.

Arguments: a folder with a short path, and the CPUs of every node, the head first. Prints one JSON line when it is there
and one after each command: ``add CPUS`` or ``remove NUMBER``.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray._private.utils import get_ray_address_file  # type: ignore[attr-defined]
from ray.cluster_utils import Cluster

# So that a lost node is noticed within five seconds and not within fifteen; shorter, and a busy machine loses nodes
# that are there.
_WATCHFUL = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 5,
}
_SECONDS_TO_JOIN = 120.0
_STORE = 200 * 2**20


def main(folder: str, cpus: list[int]) -> None:
    """Start the nodes, obey, and end them all."""
    head = {"num_cpus": cpus[0], "include_dashboard": False, "object_store_memory": _STORE, "temp_dir": folder}
    # Ray writes the address of the head there, and does not make the folder where another one holds the logs.
    Path(get_ray_address_file(None)).parent.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(
        initialize_head=True,
        connect=False,
        head_node_args={**head, "_system_config": _WATCHFUL},
    )
    nodes: list[Any] = [cluster.head_node]
    nodes += [cluster.add_node(wait=False, num_cpus=count, object_store_memory=_STORE) for count in cpus[1:]]
    cluster.wait_for_nodes(_SECONDS_TO_JOIN)
    try:
        _say(cluster, nodes)
        for line in sys.stdin:
            verb, number = line.split()
            if verb == "add":
                nodes.append(cluster.add_node(wait=False, num_cpus=int(number), object_store_memory=_STORE))
                cluster.wait_for_nodes(_SECONDS_TO_JOIN)
            else:
                cluster.remove_node(nodes[int(number)], allow_graceful=False)
            _say(cluster, nodes)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _say(cluster: Cluster, nodes: Sequence[Any]) -> None:
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes if "raylet" in node.all_processes]
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)  # noqa: T201 - read by the test


if __name__ == "__main__":
    main(sys.argv[1], [int(count) for count in sys.argv[2:]])
