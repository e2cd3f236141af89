"""The whole pipeline on a handful of rendered people, through the command line, with real Ray and MLflow."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.plan import STAGES

_ROOT = Path(__file__).parents[2]
_SETTINGS = {
    "data": {"synthetic": {"num_train_people": 6, "num_test_people": 3, "images_per_person": 6}},
    "identity": {"num_epochs": 1, "iterations_per_epoch": 2, "monitor_every": 1},
    "generator": {"num_epochs": 1, "pictures_every": 1},
    "joint": {"num_epochs": 1, "pictures_every": 1, "monitor_every": 1},
}


@pytest.mark.timeout(600)
def test_from_nothing_to_a_report_and_everything_reused_the_second_time(tmp_path: Path) -> None:
    config = tmp_path / "settings.json"
    config.write_text(json.dumps(_SETTINGS))
    home = tmp_path / "home"
    command = [sys.executable, "-m", "pipeline.cli", "pipeline", "--config", str(config), "--home", str(home)]
    kept = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}

    first = subprocess.run(command, cwd=_ROOT, env=kept, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    for wanted in ("untrained encoder", "identity warm-up", "joint training", "ARI"):
        assert wanted in first.stdout
    [report] = [line.split(maxsplit=1)[1] for line in first.stdout.splitlines() if line.startswith("Report")]
    assert "<html" in Path(report).read_text()[:200]
    metrics = json.loads(next((home / "artifacts").rglob("metrics.json")).read_text())
    assert [row["encoder"] for row in metrics["rows"]] == ["untrained", "identity", "joint"]
    assert [path.suffix for path in (home / "work").iterdir()] == [".lock"] * 8  # nothing half-done is left

    start = time.monotonic()
    second = subprocess.run(command, cwd=_ROOT, env=kept, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    lines = second.stderr.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{stage.name}: reused" for stage in STAGES]
    assert time.monotonic() - start < 60  # below 30 s where nothing else runs
