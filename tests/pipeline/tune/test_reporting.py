import pickle
from collections.abc import Mapping
from pathlib import Path

from infra.home import Home
from infra.tracking.mlflow import MlflowTracker
from pipeline.tune.trial import ReportingStore


def test_only_epochs_of_the_listened_stage_are_passed_on(tmp_path: Path) -> None:
    seen: list[tuple[dict[str, float], int]] = []

    def report(metrics: Mapping[str, float], step: int) -> None:
        seen.append((dict(metrics), step))

    home = Home(tmp_path)
    store = ReportingStore(home, f"sqlite:///{home.database}", "people", stage="joint", report=report)
    other = store.start("identity", params={}, tags={}, parent=None)
    listened = store.start("joint", params={}, tags={}, parent=None)
    store.tracker(other, tmp_path / "journal").log_metrics({"loss": 1.0}, 0)
    tracker = store.tracker(listened, tmp_path / "journal")
    tracker.log_metrics({"images": 3.0})  # no epoch
    tracker.log_metrics({"loss": 2.0}, 4)
    tracker.flush()
    assert seen == [({"loss": 2.0}, 4)]
    # What is reported is logged as well.
    [row] = store._client.get_metric_history(listened, "loss")
    assert (row.value, row.step) == (2.0, 4)
    # In another process it is a plain tracker of the same run.
    sent = pickle.loads(pickle.dumps(tracker))
    assert type(sent) is MlflowTracker
    assert sent.run_id == listened
