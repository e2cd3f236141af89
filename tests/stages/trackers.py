"""A tracker that remembers what a stage logged."""

from collections.abc import Mapping
from pathlib import Path


class RecordingTracker:
    """Implements ``infra.tracking.protocol.Tracker`` in memory."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int | None, dict[str, float]]] = []
        self.files: list[tuple[Path, str]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.metrics.append((step, dict(metrics)))

    def log_file(self, path: Path, folder: str) -> None:
        self.files.append((path, folder))

    def flush(self) -> None:
        pass
