import json
from pathlib import Path

from stages.reporting.facts import read_facts, read_object, read_rows
from tests.stages.reporting.folders import STAGES, finished_stages


def test_a_finished_stage_is_read_whole(tmp_path: Path) -> None:
    facts = read_facts(STAGES["joint"], finished_stages(tmp_path)["joint"])
    assert facts.config["temperature"] == 0.04
    assert len(facts.history) == len(facts.monitor) == 6
    assert [path.name for path in facts.pictures] == ["mixing-grid.png"]
    assert facts.num_files == 6
    assert facts.num_bytes == sum(path.stat().st_size for path in (tmp_path / "joint").rglob("*") if path.is_file())


def test_a_missing_folder_is_empty_facts(tmp_path: Path) -> None:
    facts = read_facts(STAGES["mesh"], tmp_path / "nothing")
    assert (facts.marker, facts.history, facts.pictures, facts.num_files, facts.config) == ({}, (), (), 0, {})


def test_what_is_no_object_is_empty(tmp_path: Path) -> None:
    for content in (b"[1]", b"{", b"\xff\xfe", b""):
        (tmp_path / "file.json").write_bytes(content)
        assert read_object(tmp_path / "file.json") == {}


def test_a_row_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"epoch": 0}\n[1]\n\n{"epoch": 1}\n{"epo')
    assert read_rows(tmp_path / "rows.jsonl") == ({"epoch": 0}, {"epoch": 1})


def test_a_configuration_that_is_no_object_is_none(tmp_path: Path) -> None:
    (tmp_path / "stage.json").write_text(json.dumps({"config": "words"}))
    assert read_facts(STAGES["data"], tmp_path).config == {}
