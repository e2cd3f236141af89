"""A run store that passes on what one stage logs at every epoch, while it is logged."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.home import Home
from infra.tracking.mlflow import MlflowTracker
from infra.tracking.store import RunStore

Report = Callable[[Mapping[str, float], int], None]


class ReportingStore(RunStore):
    """A ``RunStore`` whose tracker of one stage calls ``report`` with the numbers and the epoch.

    Args:
        home: As of the store.
        uri: As of the store.
        experiment: As of the store.
        stage: Whose epochs are passed on.
        report: Called in the thread of the training, which ends with what it raises.
    """

    def __init__(self, home: Home, uri: str, experiment: str, *, stage: str, report: Report) -> None:
        super().__init__(home, uri, experiment)
        self._stage, self._report = stage, report

    def tracker(self, run_id: str, journal_dir: Path) -> MlflowTracker:
        """Return the tracker of a run; one that reports when the run is of the listened stage."""
        if self.run_name(run_id) != self._stage:
            return super().tracker(run_id, journal_dir)
        return _ReportingTracker(self.uri, run_id, journal_dir, self._report)


class _ReportingTracker(MlflowTracker):
    def __init__(self, uri: str, run_id: str, journal_dir: Path, report: Report | None = None) -> None:
        super().__init__(uri, run_id, journal_dir)
        self._report = report

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, step)
        if step is not None and self._report is not None:
            self._report(metrics, step)

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process it is a plain tracker: only the process of the trial can report.
        return MlflowTracker, (self.uri, self.run_id, self.journal_dir)
