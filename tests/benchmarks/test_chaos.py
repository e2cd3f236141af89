"""A few random kills, on the smallest sizes: the benchmark's own comparison of the weights decides."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_kills_change_no_byte_of_the_weights(tmp_path: Path) -> None:
    script = [sys.executable, "benchmarks/chaos.py", "--kills", "3", "--epochs", "8", "--longest", "5"]
    done = subprocess.run([*script, "--work", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout[done.stdout.index("{") :])
    assert summary["weights_equal"] == {"generator": True, "joint": True}
    # Fewer than three only where the training was quicker than the kills.
    assert sum(summary["killed"].values()) >= 1
    assert summary["commands_given"] >= 1 + summary["killed"]["driver"]
