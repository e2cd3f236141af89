"""A check of every node of a cluster before any work: the same folders, and the packages that do the work."""

import logging
import os
import platform
import secrets
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from reid_core.errors import UserError, first_line

_log = logging.getLogger(__name__)

_PACKAGES = ("torch", "torchvision", "easypytorch3d", "faiss-gpu", "faiss-cpu", "pyarrow", "anny", "mlflow", "numba")
_NAMES_COMPARED = 1000
_SECONDS_TO_ANSWER = 120.0


@dataclass(frozen=True)
class NodeReport:
    """Folders and packages of one node.

    Attributes:
        sees_token: Whether the file that the driver wrote into the home is there, with its content.
        writes: Whether this node can write beside it; both are true where nothing is written.
        names: The first names in each folder that is read, or the size of the file; None where it does not exist.
        packages: Versions of what does the work; None where it is missing.
        python: Version of Python.
    """

    sees_token: bool
    writes: bool
    names: tuple[tuple[str, ...] | None, ...]
    packages: dict[str, str | None]
    python: str


def check_nodes(read: tuple[Path, ...], *, written: Path | None = None) -> None:
    """Refuse a cluster with a node that does not see the folders or lacks a package; removes what it writes.

    Args:
        read: Data roots and files that workers read, absolute.
        written: Home of the runs, absolute; None where workers write nothing.

    Raises:
        UserError: It names the node.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = None
    if written is not None:
        written.mkdir(parents=True, exist_ok=True)
        token = written / f".seen-by-all-{secrets.token_hex(8)}"
        token.write_text(token.name)
    try:
        here = look(token, read)
        task: Any = ray.remote(look)
        nodes = {str(node["NodeID"]): _name(node) for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
        asked = {
            node_id: task.options(
                num_cpus=0, max_retries=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
            ).remote(token, read)
            for node_id in nodes
        }
        for node_id, reference in asked.items():
            problem = _problem(_answer(reference, nodes[node_id]), here, written, read, nodes[node_id])
            if problem is not None:
                raise UserError(problem)
    finally:
        if token is not None:
            token.unlink(missing_ok=True)


def look(token: Path | None, read: tuple[Path, ...]) -> NodeReport:
    """Report what this node sees; runs on every node."""
    sees, writes = (True, True) if token is None else _home(token)
    names = tuple(_names(path) for path in read)
    return NodeReport(sees, writes, names, {name: _version(name) for name in _PACKAGES}, platform.python_version())


def _home(token: Path) -> tuple[bool, bool]:
    """Tell whether the home is the one of the driver, and whether this node can write into it."""
    probe = token.with_name(f"{token.name}-{platform.node()}-{os.getpid()}")
    try:
        probe.write_text("")
        probe.unlink()
        writes = True
    except OSError:
        writes = False
    try:
        sees = token.read_text() == token.name
    except OSError:
        sees = False
    return sees, writes


def _problem(report: NodeReport, here: NodeReport, home: Path | None, read: tuple[Path, ...], node: str) -> str | None:
    """Return the sentence on what a node lacks, or None."""
    if not report.sees_token:
        return (
            f"the node {node} does not see the home {home}; put it on storage that every node mounts at the "
            "same path, and name it with --home or GENVAR_HOME"
        )
    if not report.writes:
        return f"the node {node} cannot write into the home {home}; mount it writable for the user of Ray"
    for path, names, own in zip(read, report.names, here.names, strict=True):
        if names is None:
            return f"the node {node} does not see {path}; put it on storage that every node mounts at the same path"
        if names != own:
            return (
                f"the node {node} sees something else at {path} than the machine that started the "
                "command; mount the same storage on both"
            )
    missing = [name for name, theirs in report.packages.items() if theirs is None and here.packages[name] is not None]
    if missing:
        return f"the node {node} lacks {', '.join(missing)}; use the same image or virtual environment on every node"
    other = [name for name, theirs in report.packages.items() if theirs != here.packages[name]]
    if other:
        _log.warning(
            "the node %s has other versions than this machine, results may differ: %s",
            node,
            ", ".join(f"{name} {report.packages[name]} instead of {here.packages[name]}" for name in other),
        )
    return None


def _answer(reference: Any, node: str) -> NodeReport:
    import ray

    try:
        report = ray.get(reference, timeout=_SECONDS_TO_ANSWER)
    except ray.exceptions.GetTimeoutError as error:
        raise UserError(
            f"the node {node} took no work within {_SECONDS_TO_ANSWER:.0f} s; see its logs, or take it away"
        ) from error
    except ray.exceptions.RayError as error:
        raise UserError(
            f"the node {node} cannot run the code of genvar ({first_line(error)}); use the same image or virtual "
            "environment on every node"
        ) from error
    assert isinstance(report, NodeReport)
    return report


def _names(path: Path) -> tuple[str, ...] | None:
    try:
        if path.is_file():
            return (str(path.stat().st_size),)
        return tuple(sorted(entry.name for entry in path.iterdir())[:_NAMES_COMPARED])
    except OSError:
        return None


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
