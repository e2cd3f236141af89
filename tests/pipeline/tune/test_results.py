import dataclasses
import io
import json
from pathlib import Path
from urllib.parse import parse_qs

from PIL import Image
from rich.console import Console

from pipeline.tune.objective import find_objective
from pipeline.tune.results import (
    best_trial,
    comparison_page,
    draw_trials,
    note,
    read_trials,
    rerun_command,
    show_trials,
    summary,
)
from pipeline.tune.space import parse_dimension
from pipeline.tune.trial import DONE, FAILED, PRUNED, TrialRecord, record_path

_SPACE = (parse_dimension("joint.lr", "log(1e-4, 1e-2)"), parse_dimension("joint.mixing", "choice(dmixup, none)"))
_AGREEMENT = find_objective("agreement", {"joint"})


def _records() -> list[TrialRecord]:
    def record(
        name: str, lr: float, mixing: str, status: str, objective: float | None, reason: str = ""
    ) -> TrialRecord:
        values = {"joint.lr": lr, "joint.mixing": mixing}
        return TrialRecord(name, f"run-{name}", values, status, reason, 4, objective, {"monitor/mAP": 50.0})

    return [
        record("a", 1e-3, "dmixup", DONE, 0.5),
        record("b", 2e-3, "none", DONE, 0.8),
        record("c", 3e-3, "none", PRUNED, 0.9, "stopped after 2 epochs"),
        record("d", 4e-3, "dmixup", FAILED, None, "training diverged"),
        record("e", 5e-3, "dmixup", DONE, 0.6),
        record("f", 6e-3, "none", DONE, 0.7),
        record("g", 7e-3, "none", DONE, float("nan")),
    ]


def _write(folder: Path) -> None:
    for record in _records():
        path = record_path(folder, record.trial_id)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(record)))


def test_finished_trials_come_first_the_best_at_the_top(tmp_path: Path) -> None:
    _write(tmp_path)
    trials = read_trials(tmp_path, _AGREEMENT)
    assert [trial.trial_id for trial in trials[:4]] == ["b", "f", "e", "a"]
    best = best_trial(trials)
    assert best is not None
    assert best.trial_id == "b"  # a pruned trial has no weights, however good it was
    assert best_trial([trial for trial in trials if trial.status != DONE]) is None
    lowest = read_trials(tmp_path, dataclasses.replace(_AGREEMENT, mode="min"))
    assert lowest[0].trial_id == "a"


def test_the_table_says_what_became_of_each(tmp_path: Path) -> None:
    console = Console(width=200, record=True, file=(tmp_path / "out.txt").open("w"))
    show_trials(console, _records(), _AGREEMENT)
    text = console.export_text()
    assert "mAP (not used)" in text
    assert "chosen on labels" not in text
    assert "c pruned: stopped after 2 epochs" in text
    assert "d failed: training diverged" in text
    show_trials(console, _records(), find_objective("labelled-mAP", {"joint"}))
    assert "chosen on labels" in console.export_text()


def test_a_narrow_terminal_shows_all_settings_in_one_column() -> None:
    wide = Console(width=200, record=True, file=io.StringIO())
    narrow = Console(width=70, record=True, file=io.StringIO())
    show_trials(wide, _records(), _AGREEMENT)
    show_trials(narrow, _records(), _AGREEMENT)
    assert "joint.mixing" in wide.export_text()
    text = narrow.export_text()
    assert "joint.mixing" not in text
    assert "lr 0.001" in text
    assert "mixing dmixup" in " ".join(text.split())


def test_the_command_that_runs_the_best_again() -> None:
    command = rerun_command(_records()[1], ["--dataset folder"])
    assert command == "genvar pipeline --dataset folder --seeds 0,1,2 joint.lr=0.002 joint.mixing=none"


def test_a_value_that_a_shell_would_read_otherwise_is_quoted() -> None:
    best = dataclasses.replace(_records()[0], values={"joint.mixing": "a b", "joint.rotation": True})
    assert rerun_command(best, []) == "genvar pipeline --seeds 0,1,2 'joint.mixing=a b' joint.rotation=true"


def test_the_page_that_compares_trials_names_their_runs() -> None:
    page = comparison_page(_records()[:2], "3")
    path, _, query = page.partition("?")
    assert path == "#/compare-runs"
    assert {key: json.loads(value) for key, [value] in parse_qs(query).items()} == {
        "runs": ["run-a", "run-b"],
        "experiments": ["3"],
    }


def test_the_note_links_the_comparison_and_says_whether_labels_chose() -> None:
    trials = sorted(_records(), key=lambda trial: trial.trial_id != "b")
    text = note(trials, _AGREEMENT, "#/page", "genvar pipeline x")
    assert text.startswith("[Compare all trials](#/page)")
    assert "| b | done | 0.8 | 0.002 | none |" in text.splitlines()
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 5
    assert "genvar pipeline x" in text
    assert "Chosen on labels" not in text
    assert "Chosen on labels" in note(trials, find_objective("labelled-mAP", {"joint"}), "#/page", "")


def test_pictures_show_the_finished_trials(tmp_path: Path) -> None:
    draw_trials(_records(), _SPACE, _AGREEMENT, tmp_path)
    for name in ("parallel-coordinates.png", "importance.png"):
        with Image.open(tmp_path / name) as picture:
            assert len(set(picture.convert("L").getdata())) > 20  # something is drawn
    draw_trials(_records()[:1], _SPACE, _AGREEMENT, tmp_path / "one")
    assert not list((tmp_path / "one").iterdir())  # one trial compares with nothing


def test_the_summary_holds_every_trial_and_says_whether_labels_chose() -> None:
    trials = sorted(_records(), key=lambda trial: trial.trial_id != "b")
    found = summary(trials, _AGREEMENT, "genvar pipeline")
    assert found["best"] == {"trial": "b", "run_id": "run-b", "values": {"joint.lr": 2e-3, "joint.mixing": "none"}}
    assert found["selected_on_labels"] is False
    assert {trial["status"] for trial in found["trials"]} == {DONE, PRUNED, FAILED}
