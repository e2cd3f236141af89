"""The protocol of trackers, and a tracker that keeps quiet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Tracker(Protocol):
    """Takes the measurements and pictures of one stage.

    Picklable, so that training workers log to the run of their stage. An unreachable server never raises here:
    what could not be sent is kept in a local journal and sent later.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log named numbers, at a step when they belong to a curve."""
        ...

    def log_file(self, path: Path, folder: str) -> None:
        """Copy a file into ``folder`` of the stage's artifacts while the stage is still running."""
        ...

    def flush(self) -> None:
        """Send what is held back."""
        ...


class SilentTracker:
    """The tracker of ranks that do not log, and of quick trials without MLflow."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Do nothing."""

    def log_file(self, path: Path, folder: str) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""
