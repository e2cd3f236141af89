import pickle
from pathlib import Path

from infra.tracking.protocol import SilentTracker, Tracker


def test_nothing_is_written_and_nothing_fails(tmp_path: Path) -> None:
    tracker: Tracker = pickle.loads(pickle.dumps(SilentTracker()))
    tracker.log_metrics({"loss": float("nan")}, step=3)
    tracker.log_file(tmp_path / "there is no such file", "pictures")
    assert not list(tmp_path.iterdir())
