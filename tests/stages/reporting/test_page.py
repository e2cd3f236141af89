import json
from pathlib import Path

import pytest
import yaml

from stages.reporting.facts import StageFacts, read_facts
from stages.reporting.page import configuration, dataset_of, duration, environment_of, finished, remarks, size, words
from tests.stages.reporting.folders import STAGES, facts_of, finished_stages


@pytest.fixture
def stages(tmp_path: Path) -> dict[str, StageFacts]:
    return facts_of(finished_stages(tmp_path))


def test_configuration_is_a_file_that_reads_back(stages: dict[str, StageFacts]) -> None:
    read = yaml.safe_load(configuration(stages))
    assert read["joint"] == {"seed": 3, "num_epochs": 6, "temperature": 0.04}
    assert "mesh" not in read, "a stage that recorded nothing is not in the way"


def test_what_it_ran_on(stages: dict[str, StageFacts]) -> None:
    assert environment_of(stages) == [
        ("genvar", "0.1.0"),
        ("torch", "2.12.1"),
        ("ray", "2.60.0"),
        ("commit", "0123abcd"),
    ]
    assert dataset_of(stages) == "synthetic"
    assert finished(stages) == f"2026-01-02 10:{len(stages) - 1:02d}"


def test_sentences_are_remarks_and_other_words_are_not(tmp_path: Path) -> None:
    summary = {"version": "rendered people, seed 0", "note": "no mesh for real images.", "left out": "a.jpg: cut off"}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert remarks({"mesh": read_facts(STAGES["mesh"], tmp_path)}) == [
        "mesh: no mesh for real images.",
        "mesh: left out unreadable images: a.jpg: cut off.",
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"note": "word " * 200}))
    (long,) = remarks({"mesh": read_facts(STAGES["mesh"], tmp_path)})
    assert 390 < len(long) < 420


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3599.9, "1 h 00 min"), (7384, "2 h 03 min")],
)
def test_times(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 B"), (1500, "2 kB"), (7_400_000, "7 MB"), (2_500_000_000, "2.5 GB")]
)
def test_sizes(num_bytes: int, text: str) -> None:
    assert size(num_bytes) == text


def test_values_are_words() -> None:
    assert words({"ok": 12000, "lr": 0.00035, "on": True, "x": None, "angles": [45, 90]}) == (
        "ok 12,000, lr 0.00035, on yes, x none, angles 45, 90"
    )
