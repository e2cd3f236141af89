"""The tracker of ranks that do not log, and of quick trials without MLflow."""

from collections.abc import Mapping
from pathlib import Path


class SilentTracker:
    """Implements ``infra.tracking.protocol.Tracker`` by keeping quiet."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing."""

    def log_file(self, path: Path, folder: str) -> None:
        """Do nothing."""
