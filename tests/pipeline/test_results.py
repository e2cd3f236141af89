import io
import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from infra.home import find_home
from pipeline.results import Outcome, read_outcome, show_outcome, show_seeds, write_seeds_page
from pipeline.runner import StageResult

_METRICS = {
    "dataset": "synthetic",
    "rows": [
        {"encoder": "untrained", "mAP": 20.0, "rank1": 30.0, "rank5": 40.0, "rank10": 50.0, "mINP": 5.0},
        {"encoder": "joint", "mAP": 60.0, "rank1": 70.0, "rank5": 80.0, "rank10": 90.0, "mINP": 15.0},
    ],
    "clusters": [{"stage": "joint", "num_clusters": 80, "num_outliers": 3, "ari": 0.5, "nmi": None}],
    "skipped": None,
}


def _outcome(folder: Path, metrics: Mapping[str, object]) -> Outcome:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "report.html").write_text("")
    return read_outcome([StageResult("evaluate", True, 0.1, 12.3, "r", folder)])


def _printed(outcome: Outcome, home: Path) -> str:
    stream = io.StringIO()
    show_outcome(Console(file=stream, width=100, soft_wrap=True), outcome, home)
    return stream.getvalue()


def test_headline_numbers_keep_their_names(tmp_path: Path) -> None:
    numbers = _outcome(tmp_path, _METRICS).numbers()
    assert numbers["mAP/joint"] == 60.0
    assert numbers["rank1/untrained"] == 30.0
    assert numbers["ari/joint"] == 0.5
    assert "nmi/joint" not in numbers  # unknown is not a number


def test_every_result_names_its_data_set_and_version(tmp_path: Path) -> None:
    assert _outcome(tmp_path, {**_METRICS, "version": "seed 0"}).labels() == {
        "data.dataset": "synthetic",
        "data.version": "seed 0",
    }


def test_several_seeds_have_a_page(tmp_path: Path) -> None:
    stream = io.StringIO()
    outcomes = {f"people seed {seed}": _outcome(tmp_path / str(seed), _METRICS) for seed in (0, 1)}
    write_seeds_page(outcomes, tmp_path / "seeds.html", Console(file=stream, soft_wrap=True))
    assert "people seed 1" in (tmp_path / "seeds.html").read_text()
    assert str(tmp_path / "seeds.html") in stream.getvalue()


def test_the_tables_say_what_a_newcomer_looks_for(tmp_path: Path) -> None:
    text = _printed(_outcome(tmp_path, _METRICS), tmp_path)
    for wanted in ("untrained", "joint training", "60.0", "70.0", "80", "0.500", "reused", "12.3", "report.html"):
        assert wanted in text
    assert f"genvar ui --home {tmp_path}" in text
    assert "make ui" in _printed(_outcome(tmp_path, _METRICS), find_home().root)


def test_a_skipped_evaluation_says_why(tmp_path: Path) -> None:
    text = _printed(
        _outcome(tmp_path, {"rows": [], "clusters": [], "skipped": "Evaluation was skipped: nobody is known."}),
        tmp_path,
    )
    assert "Evaluation was skipped: nobody is known." in text


def test_no_evaluation_has_no_numbers() -> None:
    assert read_outcome([]).numbers() == {}


def test_mean_and_deviation_over_seeds_by_hand(tmp_path: Path) -> None:
    outcomes = {}
    for seed, value in enumerate((50.0, 52.0, 57.0)):
        metrics = {"rows": [{"encoder": "joint", "mAP": value}]}
        outcomes[seed] = _outcome(tmp_path / str(seed), metrics)
    stream = io.StringIO()
    show_seeds(Console(file=stream, width=100), outcomes)
    assert "53.00" in stream.getvalue()
    assert "3.61" in stream.getvalue()  # sqrt((9 + 1 + 16) / 2)
