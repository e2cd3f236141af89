import json
from pathlib import Path

from stages.reporting.facts import read_facts
from stages.reporting.results import body_table, status_counts
from tests.stages.reporting.folders import STAGES


def test_counts_at_the_top_or_one_level_down() -> None:
    assert status_counts({"num_images": 9, "ok": 8, "failed": 0, "no_person": 1}) == {"ok": 8, "no_person": 1}
    assert status_counts({"num_images": 9, "by_status": {"no_mesh": 9}}) == {"no_mesh": 9}
    assert status_counts({"ok": True, "topology": "anny"}) == {}


def test_shares_add_up(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"ok": 3000, "unreadable": 1000}))
    table = body_table(read_facts(STAGES["mesh"], tmp_path))
    assert table is not None
    assert table.rows == (
        ("ok", "3,000", "75.0 %", "a body was placed"),
        ("unreadable", "1,000", "25.0 %", "the file could not be decoded"),
    )
    (tmp_path / "summary.json").write_text("{}")
    assert body_table(read_facts(STAGES["mesh"], tmp_path)) is None
