"""Runs in MLflow as the driver sees them: opened, found again, and closed."""

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from infra.home import Home
from infra.tracking.mlflow import MlflowTracker, database_file, mlflow_client
from infra.tracking.secrets import redacted, redacted_values
from reid_core.errors import UserError

COMPLETION_MARKER = "stage.json"

# Limits of MLflow.
_MAX_PARAM_LENGTH = 6000  # characters
_MAX_PARAMS_A_CALL = 100


@dataclass(frozen=True)
class FinishedRun:
    """A stage whose artifacts are stored.

    Attributes:
        run_id: The child run.
        artifact_uri: Address of its artifacts.
    """

    run_id: str
    artifact_uri: str


class RunStore:
    """Opens, finds and closes the runs of one experiment.

    Args:
        home: Its artifact folder serves the local database; its cache holds downloads.
        uri: Address of the tracking store.
        experiment: Name; one a data set.
    """

    def __init__(self, home: Home, uri: str, experiment: str) -> None:
        self.home, self.uri, self.experiment = home, uri, experiment

    @cached_property
    def experiment_id(self) -> str:
        """Number of the experiment in the store, which is created where there is none."""
        from mlflow.exceptions import MlflowException

        experiment = self._known_experiment()
        if experiment is None:
            local = self.uri.startswith("sqlite")
            # As an address: MLflow reads a path as one, in which "#", "?" and "%" have a meaning.
            location = (self.home.artifacts / self.experiment).as_uri() if local else None
            try:
                return str(self._client.create_experiment(self.experiment, artifact_location=location))
            except MlflowException:  # another process may have been faster
                experiment = self._known_experiment()
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    @property
    def is_remote(self) -> bool:
        """True for a server, which can go away and come back."""
        return self.uri.startswith(("http://", "https://"))

    def exists(self) -> bool:
        """Tell whether there is a store to look into, so that a dry run need not create one."""
        file = database_file(self.uri)
        return file is None or file.is_file()

    def find_finished(self, fingerprints: Mapping[str, str]) -> dict[str, FinishedRun]:
        """Find the newest finished run with artifacts of every stage.

        Args:
            fingerprints: Stage name to fingerprint.

        Returns:
            Stage name to run, for the stages that have one.
        """
        if not self.exists() or (experiment := self._known_experiment()) is None:
            return {}
        finished: dict[str, FinishedRun] = {}
        for stage, fingerprint in fingerprints.items():
            condition = f"tags.fingerprint = '{fingerprint}' and attributes.status = 'FINISHED'"
            order = ["attributes.start_time DESC"]
            for run in self._client.search_runs([experiment.experiment_id], condition, order_by=order, max_results=20):
                if self.has_artifacts(run):
                    finished[stage] = FinishedRun(run.info.run_id, run.info.artifact_uri)
                    break
        return finished

    def has_artifacts(self, run: Any) -> bool:
        """Tell whether the artifacts of a run are whole, where they are stored."""
        if (local := _local_path(run.info.artifact_uri)) is not None:
            return (local / COMPLETION_MARKER).is_file()
        names = [file.path for file in self._client.list_artifacts(run.info.run_id)]
        return COMPLETION_MARKER in names

    def artifacts_dir(self, run: FinishedRun) -> Path:
        """Return a folder with the artifacts: in place when they are local, else a download."""
        if (local := _local_path(run.artifact_uri)) is not None:
            return local
        folder = self.home.cache / run.run_id
        if not folder.is_dir():
            import mlflow.artifacts

            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            mlflow.artifacts.download_artifacts(run_id=run.run_id, dst_path=str(part), tracking_uri=self.uri)
            part.replace(folder)
        return folder

    def start(self, name: str, *, params: Mapping[str, str], tags: Mapping[str, str], parent: str | None) -> str:
        """Open a run.

        Args:
            name: Shown in the UI.
            params: Resolved configuration under dotted names.
            tags: Searchable facts.
            parent: Run that this one is shown under.

        Returns:
            The run's id.
        """
        for key, value in params.items():
            if len(value) > _MAX_PARAM_LENGTH:
                raise UserError(
                    f"a value of at most {_MAX_PARAM_LENGTH:,} characters is wanted for {key}, but {len(value):,} "
                    "came; shorten it, or name a file instead"
                )
        all_tags = {**redacted_values(tags), **_owner_tags(parent)}
        run_id = str(self._client.create_run(self.experiment_id, tags=all_tags, run_name=name).info.run_id)
        self._log_params(run_id, params)
        return run_id

    def resume(self, run_id: str, *, parent: str | None = None, even_finished: bool = False) -> bool:
        """Open a run again that a kill left behind; False when the store does not know it or it has finished.

        Args:
            run_id: The run.
            parent: Run that it is shown under from now on; the one of before when None.
            even_finished: Open it again however it ended.
        """
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return False
        if run.info.lifecycle_stage != "active" or (run.info.status == "FINISHED" and not even_finished):
            return False
        for key, value in _owner_tags(parent).items():
            self._client.set_tag(run_id, key, value)
        self._client.update_run(run_id, status="RUNNING")
        return True

    def run_name(self, run_id: str) -> str:
        """Return the name that a run was started with."""
        return str(self._client.get_run(run_id).info.run_name)

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self._client.set_tag(run_id, key, value)

    def log_results(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log numbers that stand for the whole run."""
        tracker = self.tracker(run_id, self.home.work / "journal")
        tracker.log_metrics(metrics)
        tracker.flush()

    def tracker(self, run_id: str, journal_dir: Path) -> MlflowTracker:
        """Return the tracker of a run."""
        return MlflowTracker(self.uri, run_id, journal_dir)

    def log_settings(self, run_id: str, params: Mapping[str, str]) -> None:
        """Store the settings as an artifact of a run."""
        self._client.log_dict(run_id, redacted_values(params), "settings.json")

    def upload(self, run_id: str, folder: Path) -> None:
        """Store a folder's content as the artifacts of a run."""
        self._client.log_artifacts(run_id, str(folder))

    def end(self, run_id: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        self._client.set_terminated(run_id, status)

    def finished(self, run_id: str) -> FinishedRun:
        """Return a run that has just been stored."""
        return FinishedRun(run_id, self._client.get_run(run_id).info.artifact_uri)

    def close_orphans(self) -> int:
        """Mark runs KILLED that a dead process of this machine left RUNNING; returns how many."""
        condition = f"attributes.status = 'RUNNING' and tags.`genvar.host` = '{socket.gethostname()}'"
        runs = self._client.search_runs([self.experiment_id], condition, max_results=1000)
        orphans = [run for run in runs if not _is_alive(run.data.tags)]
        for run in orphans:
            self.end(run.info.run_id, "KILLED")
        return len(orphans)

    @contextmanager
    def system_metrics(self, run_id: str) -> Iterator[None]:
        """Log CPU, memory, disk and GPU use of this machine while the block runs."""
        import mlflow
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        mlflow.set_tracking_uri(self.uri)
        monitor: Any = SystemMetricsMonitor(run_id, sampling_interval=5, samples_before_logging=2)  # type: ignore[no-untyped-call]
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def _known_experiment(self) -> Any:
        """Return the experiment, None where there is none; one that was deleted takes no runs."""
        experiment = self._client.get_experiment_by_name(self.experiment)
        if experiment is not None and experiment.lifecycle_stage != "active":
            raise UserError(
                f'the experiment "{self.experiment}" at {redacted(self.uri)} was deleted in MLflow; restore it with '
                f"MLFLOW_TRACKING_URI={redacted(self.uri)} mlflow experiments restore --experiment-id "
                f"{experiment.experiment_id}, or choose another --home"
            )
        return experiment

    @cached_property
    def _client(self) -> Any:
        return mlflow_client(self.uri)

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        all_params = [Param(key, value) for key, value in redacted_values(params).items()]
        for start in range(0, len(all_params), _MAX_PARAMS_A_CALL):
            self._client.log_batch(run_id, params=all_params[start : start + _MAX_PARAMS_A_CALL])


def _local_path(uri: str) -> Path | None:
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def _owner_tags(parent: str | None) -> dict[str, str]:
    """Return tags that name the process that a run belongs to, and the run above it."""
    import psutil

    process = json.dumps([os.getpid(), round(psutil.Process().create_time(), 1)])
    above = {} if parent is None else {"mlflow.parentRunId": parent}
    return {"genvar.host": socket.gethostname(), "genvar.process": process, **above}


def _is_alive(tags: Mapping[str, str]) -> bool:
    import psutil

    try:
        pid, started = json.loads(tags["genvar.process"])
        return bool(abs(psutil.Process(pid).create_time() - started) < 1.0)
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False
