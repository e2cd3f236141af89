"""Starting a Ray cluster, or joining one and bringing this code to its nodes; quietly, and leaving it again."""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra.compute.lifetime import start_guard
from infra.compute.machine import available_cpus, available_gpus
from reid_core.errors import UserError, first_line

# What travels to the nodes of a cluster that exists already, and nothing beside it.
PACKAGES = ("reid_core", "infra", "stages", "pipeline")
# Patterns as in .gitignore. No package holds data; should somebody keep some there, it stays at home.
_NOT_SHIPPED = ["__pycache__/", "*.pyc", "*.parquet", "*.safetensors", "*.pt", "*.pth", "*.npy", "*.jpg", "*.png"]

# Read by processes of a node when they start; a cluster that exists already did not get them from this process.
_ENVIRONMENT_OF_NODES = {
    "GOMP_SPINCOUNT": "3000",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

# Set before Ray is imported; what the caller has set stays.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # How often the end of a training is looked for; the default of 2 s is a tail on each of them.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}

# Read when Ray is imported: makes 127.0.0.1 the address of a cluster started here, on which its servers then listen
# alone. Without it (and despite the address that ray.init is given) they listen on every network of the machine.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

_OBJECT_STORE_BYTES = 1 << 30
_PROBE_SECONDS = 3.0
_MAX_FOLDER_LENGTH = 40
# Ray has no type of its own for this: a plain Exception with this sentence.
SHARED_MEMORY = "/dev/shm"
_SLOW_START = "timed out during startup"

_guards: list["subprocess.Popen[bytes]"] = []  # of the cluster that this process started


def connect(num_cpus: int | None, num_gpus: int | None) -> tuple[int, int]:
    """Join the cluster that RAY_ADDRESS names, or start one that ends with this process.

    Args:
        num_cpus: CPUs of a cluster started here; all that this process may use when None.
        num_gpus: GPUs of a cluster started here; all when None.

    Returns:
        CPUs and GPUs of the cluster.
    """
    address = _address()
    for name, value in (_QUIET | _authentication(address) | ({} if address else _LOOPBACK)).items():
        os.environ.setdefault(name, value)
    import ray

    if not ray.is_initialized():
        with _own_end_on_terminate():
            if address is None:
                _start(num_cpus or available_cpus(), available_gpus() if num_gpus is None else num_gpus)
            else:
                _join(address)
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1)), int(resources.get("GPU", 0))


def disconnect() -> None:
    """Leave the cluster; it ends if it was started here."""
    import ray

    ray.shutdown()
    while _guards:
        guard = _guards.pop()
        guard.communicate()


def probe_address() -> None:
    """Refuse a RAY_ADDRESS at which nothing listens: Ray itself would wait for minutes."""
    address = _address()
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(
            f'RAY_ADDRESS should be "host:port", "auto" or "local", but is "{address}"; correct or unset it'
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error}); start one there, or unset RAY_ADDRESS to "
            "compute on this machine"
        ) from error


def joins_cluster() -> bool:
    """Tell whether RAY_ADDRESS names a cluster that exists already; its nodes may come and go."""
    return _address() is not None


def shipped_code() -> dict[str, Any]:
    """Return the runtime environment that brings this version of the code to every node of an existing cluster.

    The working directory does not travel: in a checkout it would take runs and data sets along. Nor does the
    environment, in which passwords may lie: what only the driver needs (MLflow's credentials) stays with it.
    """
    return {
        "py_modules": [str(folder) for folder in package_folders()],
        "excludes": _NOT_SHIPPED,
        "env_vars": dict(_ENVIRONMENT_OF_NODES),
    }


def package_folders() -> list[Path]:
    """Return the folders of the packages that this process imports."""
    specs = [find_spec(name) for name in PACKAGES]
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin is not None]


@contextmanager
def started_in_time() -> Iterator[None]:
    """Say in a sentence that a cluster did not start in the half minute that Ray gives it."""
    try:
        yield
    except Exception as error:
        if (reason := _missing_of_machine()) is not None:
            raise UserError(f"Ray could not start, because {reason}") from error
        if _SLOW_START not in str(error):
            raise
        raise UserError(
            "Ray could not start within 30 seconds, perhaps because the machine is busy; give the same command again, "
            "or leave Ray out with --executor local"
        ) from error


def _missing_of_machine() -> str | None:
    """Return what Ray needs of a machine and this one does not give, and what to do; None when all is there."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        return (
            f"the loopback 127.0.0.1 cannot be used ({error.strerror or error}); bring it up (ip link set lo up), or "
            "leave Ray out with --executor local"
        )
    memory = Path(SHARED_MEMORY)
    if memory.is_dir():  # Ray keeps its objects in its temporary folder where there is none
        try:
            tempfile.TemporaryFile(dir=memory).close()
        except OSError as error:
            return (
                f"shared memory at {memory} cannot be written ({error.strerror}); mount it for writing (docker "
                "--shm-size=4g, or an emptyDir of medium Memory), or leave Ray out with --executor local"
            )
    return None


@contextmanager
def _own_end_on_terminate() -> Iterator[None]:
    """Keep the caller's handler of SIGTERM, which Ray replaces by one that ends the process with another exit code."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where Ray replaces none
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        # Ray's handler raised it, which stands in until Ray has started.
        disconnect()
        if callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)


def _address() -> str | None:
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return None if address in ("", "local") else address


def _authentication(address: str | None) -> dict[str, str]:
    """Return the variables that Ray reads, once, when it is imported."""
    if "RAY_AUTH_MODE" in os.environ or "ray" in sys.modules:
        return {}
    if address is None:
        # A token for this cluster alone; Ray would write one into the home directory, which may be read-only.
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    has_token = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if has_token or (Path.home() / ".ray" / "auth_token").is_file():
        # An explicit address never turns this on by itself, and a cluster that wants a token then refuses.
        return {"RAY_AUTH_MODE": "token"}
    return {}


def _start(num_cpus: int, num_gpus: int) -> None:
    import ray

    folder = _folder()
    _guards.append(start_guard(folder))
    with started_in_time():
        ray.init(
            address="local",
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
        )


def _folder() -> Path:
    """Make a folder for the cluster's sockets and logs; the paths of sockets must be short."""
    folder = Path(tempfile.mkdtemp(prefix="genvar-ray-"))
    if len(str(folder)) > _MAX_FOLDER_LENGTH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="genvar-ray-", dir="/tmp"))
    return folder


def _join(address: str) -> None:
    import ray

    probe_address()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=shipped_code())
    except (ConnectionError, RuntimeError) as error:
        raise UserError(
            f"the Ray cluster at RAY_ADDRESS={address} could not be joined ({first_line(error)}); check that it runs, "
            "that its Ray and Python versions are the ones here, and RAY_AUTH_MODE (token or disabled) with its token"
        ) from error
