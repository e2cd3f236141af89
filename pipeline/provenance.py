"""What a result was made with: package versions and the commit of the source."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "genvar", "torch", "torchvision", "easypytorch3d", "ray", "mlflow", "faiss-gpu", "faiss-cpu", "anny", "mediapipe",
    "numpy", "scipy", "scikit-learn", "numba", "pyarrow", "pydantic",
)  # fmt: skip


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue  # one of the two faiss packages is there
    return versions


@cache
def git_commit() -> str | None:
    """Return the commit of the checkout that this code runs from, "-dirty" when it was changed, or None."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
