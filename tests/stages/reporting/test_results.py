import json
from pathlib import Path
from typing import Any

from stages.reporting.facts import StageFacts, read_facts
from stages.reporting.results import (
    best_on_test,
    body_table,
    camera_note,
    camera_table,
    cluster_table,
    encoder_table,
    has_intervals,
    headline,
    number,
    query_note,
    with_interval,
)
from stages.training.conditions import write_conditions
from tests.stages.reporting.folders import LOADED, METRICS, STAGES, WARM, facts_of, finished_stages


def stages(root: Path, **changed: Any) -> dict[str, StageFacts]:
    inputs = finished_stages(root, metrics={**METRICS, **changed})
    return facts_of(inputs)


def test_scores_and_their_conditions_stand_in_one_row(tmp_path: Path) -> None:
    table = encoder_table(stages(tmp_path))
    assert table is not None
    row = dict(zip(table.head, table.rows[1], strict=True))
    assert row == {
        "encoder": "identity warm-up", "mAP": "36.8", "rank-1": "45.0", "rank-5": "66.0", "rank-10": "75.0",
        "rank-20": "83.0", "mINP": "11.9", "camera ids used": "no", "pre-training": "none", "epoch": "last (12)",
        "data set": "synthetic rendered-1", "image size": "64 x 32", "seeds": "1 (seed 3)",
    }  # fmt: skip
    assert table.best == {(2, column) for column in range(1, 7)}


def test_each_encoder_has_the_conditions_that_its_stage_recorded(tmp_path: Path) -> None:
    inputs = finished_stages(tmp_path)
    warm = WARM.using("identity", ["cameras.weight"])
    write_conditions(inputs["identity"], {"untrained": LOADED, "identity": warm})
    write_conditions(inputs["joint"], {"joint": warm.trained("joint", 3, 6)})
    (inputs["cluster"] / "conditions.json").unlink()
    facts = facts_of(inputs)
    encoders, clusters = encoder_table(facts), cluster_table(facts)
    assert encoders is not None
    assert clusters is not None
    used = [row[encoders.head.index("camera ids used")] for row in encoders.rows]
    assert used == ["no", "yes", "yes"]
    assert [row[-1] for row in clusters.rows] == ["unknown", "yes"]
    assert camera_note(facts) == "Camera ids were used by identity.cameras.weight."


def test_an_older_run_that_recorded_no_conditions_has_unknown_ones(tmp_path: Path) -> None:
    inputs = finished_stages(tmp_path)
    for name in ("identity", "cluster", "joint"):
        (inputs[name] / "conditions.json").unlink()
    table = encoder_table(facts_of(inputs))
    assert table is not None
    assert {cell for row in table.rows for cell in row[table.numbers[1] :]} == {"unknown"}


def test_one_encoder_alone_is_not_called_the_best(tmp_path: Path) -> None:
    table = encoder_table(stages(tmp_path, rows=METRICS["rows"][:1]))
    assert table is not None
    assert table.best == frozenset()


def test_shares_of_bodies_add_up(tmp_path: Path) -> None:
    status = {"ok": 3000, "unreadable": 1000, "failed": 0, "no_person": True}
    (tmp_path / "summary.json").write_text(json.dumps({"status": status}))
    table = body_table(read_facts(STAGES["mesh"], tmp_path))
    assert table is not None
    assert table.rows == (
        ("ok", "3,000", "75.0 %", "a body was placed"),
        ("unreadable", "1,000", "25.0 %", "the file could not be decoded"),
    )
    (tmp_path / "summary.json").write_text("{}")
    assert body_table(read_facts(STAGES["mesh"], tmp_path)) is None


def test_gains_are_differences_of_map(tmp_path: Path) -> None:
    facts = stages(tmp_path, rows=[{"encoder": "identity", "mAP": 30.0}, {"encoder": "joint", "mAP": 28.5}])
    assert headline(facts) == "Joint training reaches 28.5 % mAP: \N{MINUS SIGN}1.5 against the identity warm-up."


def test_no_scores_is_said(tmp_path: Path) -> None:
    facts = stages(tmp_path, rows=None, clusters=[], skipped="Evaluation was skipped.")
    assert headline(facts) == "Evaluation was skipped."
    assert encoder_table(facts) is None
    assert cluster_table(facts) is None
    assert query_note(facts) == ""


def test_skipped_queries_are_counted(tmp_path: Path) -> None:
    facts = stages(tmp_path, rows=[{"encoder": "joint", "mAP": 1.0, "num_queries": 58, "skipped_queries": 2}])
    assert query_note(facts) == "Mean over 58 queries; 2 more had no match in another camera and were left out."


def test_agreement_is_a_dash_without_truth(tmp_path: Path) -> None:
    table = cluster_table(stages(tmp_path, clusters=[{"stage": "joint", "num_clusters": 1234, "num_outliers": 0}]))
    assert table is not None
    assert table.rows == (("end of joint training", "1,234", "0", "–", "–", "no"),)


def test_numbers_that_are_none() -> None:
    assert [number(value) for value in (float("nan"), None, True, 0, 12.34)] == ["–", "–", "–", "0.0", "12.3"]


def test_an_interval_stands_below_its_score(tmp_path: Path) -> None:
    row = {"mAP": 41.26, "mAP_low": 38.04, "mAP_high": 44.0, "rank1": 50.0}
    assert with_interval(row, "mAP") == "41.3\n38.0–44.0"
    assert with_interval(row, "rank1") == "50.0"
    assert has_intervals(stages(tmp_path, rows=[row]))


def test_re_ranking_holds_under_the_conditions_of_its_encoder(tmp_path: Path) -> None:
    table = encoder_table(stages(tmp_path, rows=[{"encoder": "joint + re-ranking", "mAP": 50.0}]))
    assert table is not None
    assert dict(zip(table.head, table.rows[0], strict=True))["epoch"] == "last (6)"


def test_the_best_epoch_goes_by_its_own_name(tmp_path: Path) -> None:
    facts = stages(tmp_path)
    assert best_on_test(facts) == "best_on_test: 25.4 % mAP after epoch 6 of joint training."
    assert best_on_test({**facts, "joint": facts["data"]}) == ""
    assert not has_intervals(facts)


def test_pairs_of_cameras_make_a_square(tmp_path: Path) -> None:
    pairs = [
        {"encoder": "joint", "query_camera": 0, "gallery_camera": 2, "mAP": 40.0},
        {"encoder": "joint", "query_camera": 2, "gallery_camera": 0, "mAP": 50.0},
        {"encoder": "untrained", "query_camera": 1, "gallery_camera": 0, "mAP": 5.0},
    ]
    table = camera_table(stages(tmp_path, camera_pairs=pairs))
    assert table is not None
    assert table.head[1:] == ("camera 1", "camera 3")
    assert table.rows == (("camera 1", "–", "40.0"), ("camera 3", "50.0", "–"))
    assert camera_table(stages(tmp_path / "other")) is None
