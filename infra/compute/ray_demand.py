"""Waiting for what a piece of work asks of a cluster, with a sentence on what is wanted and what there is."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reid_core.errors import UserError

_log = logging.getLogger(__name__)

WAIT_VARIABLE = "GENVAR_CLUSTER_WAIT"
_SECONDS_TO_WAIT = 600.0
_SECONDS_BETWEEN_LOOKS = 1.0
_NAMES = {"CPU": ("CPU", "CPUs"), "GPU": ("GPU", "GPUs"), "memory": ("GB of memory", "GB of memory")}


@dataclass(frozen=True)
class Demand:
    """Resources that one piece of work asks for.

    Attributes:
        work: Subject of the sentence, such as ``joint training``.
        bundle: Resources of one process, all on one node: ``CPU``, ``GPU``, ``memory`` in bytes.
        count: Processes at the same time.
        advice: Another thing that the user can do, such as ``lower joint.num_ranks``.
    """

    work: str
    bundle: Mapping[str, float]
    count: int = 1
    advice: str = "ask for less"


def shortage(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """Say what a cluster lacks for a demand, or None where everything fits.

    Args:
        demand: Resources that are asked for.
        nodes: Resources of every node.

    Returns:
        For example ``joint training asks for 4 GPUs, the cluster has 2``.
    """
    for name in sorted(demand.bundle, reverse=True):  # memory and GPUs say more than CPUs
        wanted = demand.bundle[name]
        if not wanted:
            continue
        available = sum(node.get(name, 0.0) for node in nodes)
        if available + 1e-6 < wanted * demand.count:
            return (
                f"{demand.work} asks for {_amount(name, wanted * demand.count)}, "
                f"the cluster has {_number(name, available)}"
            )
    places = sum(_places(demand.bundle, node) for node in nodes)
    if places < demand.count:
        bundle = " and ".join(_amount(name, amount) for name, amount in demand.bundle.items() if amount)
        return (
            f"{demand.work} asks for {demand.count} x ({bundle}), each on one node, and the cluster's {len(nodes)} "
            f"nodes have room for {places}"
        )
    return None


def wait_for(demand: Demand, *, grows: bool) -> None:
    """Return once the cluster has what is asked for, whether it is free or in use.

    Args:
        demand: Resources that are asked for; an autoscaler is told.
        grows: Whether nodes may come; else the demand is refused at once.
    """
    lacking = shortage(demand, node_resources())
    if lacking is None:
        if grows:
            _say_when_busy(demand)
        return
    end = time.monotonic() + seconds_to_wait()
    if grows and time.monotonic() < end:
        _log.warning(
            "%s: waiting up to %.0f s for nodes (add some, or %s; %s sets how long)",
            lacking,
            seconds_to_wait(),
            demand.advice,
            WAIT_VARIABLE,
        )
        _tell_autoscaler(demand)
        while time.monotonic() < end:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            lacking = shortage(demand, node_resources())
            if lacking is None:
                _log.info("the cluster has what %s asks for", demand.work)
                return
    raise UserError(f"{lacking}; {demand.advice}{', or add nodes' if grows else ''}")


def seconds_to_wait() -> float:
    """Return how long nodes may take to come: GENVAR_CLUSTER_WAIT, or ten minutes."""
    text = os.environ.get(WAIT_VARIABLE, "").strip()
    try:
        return float(text) if text else _SECONDS_TO_WAIT
    except ValueError as error:
        raise UserError(
            f'{WAIT_VARIABLE} should be a number of seconds, but is "{text}"; correct or unset it'
        ) from error


def node_resources() -> list[dict[str, float]]:
    """Return the resources of every living node of the cluster."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _say_when_busy(demand: Demand) -> None:
    import ray

    free = ray.available_resources()  # type: ignore[no-untyped-call]
    if all(free.get(name, 0.0) + 1e-6 >= wanted * demand.count for name, wanted in demand.bundle.items()):
        return
    time.sleep(_SECONDS_BETWEEN_LOOKS)  # what this pipeline has just finished with is given back a moment later
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    for name, wanted in demand.bundle.items():
        if wanted and free.get(name, 0.0) + 1e-6 < wanted * demand.count:
            _log.info(
                "%s asks for %s, %s are free now: it starts when others have finished",
                demand.work,
                _amount(name, wanted * demand.count),
                _number(name, free.get(name, 0.0)),
            )
            return


def _tell_autoscaler(demand: Demand) -> None:
    from ray.autoscaler.sdk import request_resources

    # A task that waits tells the autoscaler by itself; a training that is not started yet does not.
    request_resources(bundles=[{name: int(amount) or 1 for name, amount in demand.bundle.items()}] * demand.count)


def _places(bundle: Mapping[str, float], node: Mapping[str, float]) -> int:
    """Return how many bundles a node holds."""
    counts = [int((node.get(name, 0.0) + 1e-6) // amount) for name, amount in bundle.items() if amount]
    return min(counts, default=1 << 30)


def _amount(name: str, amount: float) -> str:
    one, many = _NAMES.get(name, (name, name))
    number = _number(name, amount)
    return f"{number} {one if number == '1' else many}"


def _number(name: str, amount: Any) -> str:
    return f"{amount / 1e9:.1f}" if name == "memory" else f"{amount:g}"
