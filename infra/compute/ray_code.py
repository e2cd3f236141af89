"""The code that travels to the nodes of a cluster: the four packages, and nothing beside them."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("reid_core", "infra", "stages", "pipeline")

# Patterns as in .gitignore. No package holds data; should somebody keep some there, it stays at home.
_EXCLUDES = ["__pycache__/", "*.pyc", "*.parquet", "*.safetensors", "*.pt", "*.pth", "*.npy", "*.jpg", "*.png"]

# Read by processes of a node when they start; a cluster that exists already did not get them from this process.
_ENVIRONMENT = {
    "GOMP_SPINCOUNT": "3000",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def shipped_code() -> dict[str, Any]:
    """Return the runtime environment that brings this version of the code to every node of an existing cluster.

    The working directory does not travel: in a checkout it would take runs and data sets along. Nor does the
    environment, in which passwords may lie: what only the driver needs (MLflow's credentials) stays with it.
    """
    return {
        "py_modules": [str(folder) for folder in package_folders()],
        "excludes": _EXCLUDES,
        "env_vars": dict(_ENVIRONMENT),
    }


def package_folders() -> list[Path]:
    """Return the folders of the packages that this process imports."""
    specs = [find_spec(name) for name in PACKAGES]
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin is not None]
