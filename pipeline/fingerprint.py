"""Identity of a result: the fingerprint of its stage, the versions of the packages and the commit of the source."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Collection, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.config import neutral_keys
from stages.stage import Stage, StageConfig


def fingerprint(
    stage: Stage, config: StageConfig, inputs: Mapping[str, str], *, content: str | None, deterministic: bool
) -> str:
    """Return the fingerprint of one stage.

    Args:
        stage: Name and version count.
        config: Resolved; fields marked ``ResultNeutral`` do not count, unless they decide what is displayed.
        inputs: Fingerprints of the stages it reads, by name.
        content: Digest of what the stage reads from outside of the pipeline.
        deterministic: Whether the deterministic mode is on.

    Returns:
        64 hexadecimal digits.
    """
    facts = {
        "stage": stage.name,
        "version": stage.version,
        "config": _without(neutral_keys(type(config), display=False), config.model_dump(mode="json")),
        "inputs": dict(inputs),
        "content": content,
        "deterministic": deterministic and not stage.deterministic,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _without(neutral: Collection[str], settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        key = prefix + name
        if isinstance(value, dict) and value:
            # A group that is neutral as a whole leaves no trace.
            if below := _without(neutral, value, f"{key}."):
                kept[name] = below
        elif key not in neutral:
            kept[name] = value
    return kept


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
