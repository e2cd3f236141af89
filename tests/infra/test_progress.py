import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra import progress
from infra.progress import ProgressFile, follow_file, progress_bar


class _Seen:
    def __init__(self) -> None:
        self.calls: list[tuple[int, dict[str, float]]] = []

    def show(self, done: int, values: Mapping[str, float]) -> None:
        self.calls.append((done, dict(values)))


def test_plain_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with progress_bar("Rendering", 10, "images") as bar:
        bar.show(4, {})
        time.sleep(0.02)
        bar.show(8, {"loss": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  Rendering: 4/10 images"
    assert lines[1].startswith("  Rendering: 8/10 images, ")
    assert lines[1].endswith("s left  loss 0.5")
    assert lines[2].startswith("  Rendering: 8/10 images, in 0.")


def test_a_quick_piece_of_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Checking", 2, "files") as bar:
        bar.show(1, {})
        bar.show(2, {})
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_carries_progress_to_the_bar(tmp_path: Path) -> None:
    seen = _Seen()
    path = tmp_path / "progress.json"
    path.write_text(json.dumps({"done": 99, "values": {}}))  # of an earlier training: must not be shown
    with follow_file(path, seen):
        file = ProgressFile(path)
        file.show(3, {"loss": 2.0})
        file.show(5, {"loss": 1.0})
        file.flush()
    assert seen.calls[-1] == (5, {"loss": 1.0})
    assert (99, {}) not in seen.calls


def test_the_rate_of_a_resumed_run_starts_where_it_resumed() -> None:
    rate = progress._Rate()
    assert rate(1000) == 0.0
    time.sleep(0.05)
    assert 0 < rate(1001) < 1000
