import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infra.home import Home
from infra.tracking.store import RunStore
from pipeline.compare import compare, compared, comparison_page, find_pipelines, grouped, result_table, setting_table
from reid_core.errors import UserError
from stages.training.conditions import write_conditions
from tests.stages.reporting.folders import LOADED, METRICS, finished_stages


def _run(root: Path, title: str, *, seed: int, mean_ap: float, **joint: Any) -> Any:
    rows = [*METRICS["rows"][:2], {**METRICS["rows"][2], "mAP": mean_ap}]
    folders = finished_stages(root / title, metrics={**METRICS, "rows": rows})
    for name in ("identity", "joint"):
        marker = json.loads((folders[name] / "stage.json").read_text())
        marker["config"] |= {"seed": seed, **(joint if name == "joint" else {})}
        (folders[name] / "stage.json").write_text(json.dumps(marker))
    write_conditions(folders["joint"], {"joint": LOADED.trained("identity", seed, 12).trained("joint", seed, 6)})
    return compared(title, folders)


@pytest.fixture
def runs(tmp_path: Path) -> list[Any]:
    return [
        _run(tmp_path, "people seed 1", seed=1, mean_ap=44.0),
        _run(tmp_path, "people hot", seed=0, mean_ap=30.0, temperature=0.5),
        _run(tmp_path, "people seed 0", seed=0, mean_ap=42.0, num_ranks=4),
    ]


def test_runs_that_differ_in_the_seed_alone_belong_together(runs: list[Any]) -> None:
    titles = [[run.title for run in group] for group in grouped(runs)]
    assert titles == [["people seed 0", "people seed 1"], ["people hot"]]


def test_mean_and_deviation_by_hand(runs: list[Any]) -> None:
    table = result_table(runs)
    column = table.head.index("mAP")
    assert [(row[0], row[column]) for row in table.rows] == [
        ("people seed 0", "42.0"),
        ("people seed 1", "44.0"),
        ("people, seeds 0, 1", "43.0\n± 1.4"),  # the square root of 2
        ("people hot", "30.0"),
    ]
    assert table.means == {2}
    assert [row[-1] for row in table.rows] == ["1 (seed 0)", "1 (seed 1)", "2 (mean ± std)", "1 (seed 0)"]
    assert {"camera ids used", "pre-training", "epoch", "data set", "seeds"} <= set(table.head)


def test_only_settings_that_differ_are_shown(runs: list[Any]) -> None:
    table = setting_table(runs)
    assert table is not None
    assert table.head == ("setting", "people, seeds 0, 1", "people hot")
    assert table.rows == (("joint.temperature", "0.04", "0.5"),)
    assert setting_table(runs[:1]) is None


def test_other_images_are_another_group(tmp_path: Path) -> None:
    first = _run(tmp_path, "one", seed=0, mean_ap=1.0)
    folders = finished_stages(tmp_path / "two")
    marker = json.loads((folders["data"] / "stage.json").read_text())
    (folders["data"] / "stage.json").write_text(json.dumps({**marker, "fingerprint": "other"}))
    assert len(grouped([first, compared("two", folders)])) == 2


def test_the_page_has_a_line_a_run_in_every_curve(runs: list[Any]) -> None:
    page = comparison_page("Three runs", runs)
    assert page.count("<svg") == page.count("<figure") > 10
    assert page.count('style="--swatch') == 3
    curve = page[page.index("<figcaption>rotation contrast") :]
    for number in (1, 2, 3):
        assert f"var(--series-{number})" in curve[: curve.index("</figure>")]
    assert "<script" not in page


def test_more_runs_than_colours_are_in_the_table_and_the_first_ones_in_the_curves(tmp_path: Path) -> None:
    many = [_run(tmp_path, f"run {i}", seed=0, mean_ap=float(i), temperature=float(i)) for i in range(9)]
    page = comparison_page("Nine", many)
    assert "The first 8 runs." in page
    assert len(result_table(many).rows) == 9


def test_a_pipeline_that_did_not_get_far_has_dashes(tmp_path: Path) -> None:
    run = compared("only data", {"data": finished_stages(tmp_path)["data"]})
    assert result_table([run]).rows[0][1] == "–"
    with pytest.raises(UserError, match="at least one finished pipeline"):
        comparison_page("nothing", [])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with three finished pipelines of one name; the artifacts are small folders."""
    folder = tmp_path_factory.mktemp("compare")
    home = Home(folder / "home")
    home.root.mkdir()
    store = RunStore(home, f"sqlite:///{home.database}", "people")
    for number in range(3):
        parent = store.start("people tiny", params={}, tags={"kind": "pipeline"}, parent=None)
        for name, stage in finished_stages(folder / str(number)).items():
            run_id = store.start(name, params={}, tags={"stage": name}, parent=parent)
            store.upload(run_id, stage)
            store.end(run_id, "FINISHED")
        store.end(parent, "FINISHED")
    return home


def test_a_table_in_the_terminal_and_a_page(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    compare(home, [], None, Console(width=200))
    printed = capsys.readouterr().out
    ids = [pipeline.run_id[:8] for pipeline in find_pipelines(home, [])]
    assert all(f"people tiny ({run_id})" in printed for run_id in ids)
    assert "42.1 ± 0.0" in printed, "equal runs"
    page = (home.root / "compare.html").read_text()
    assert all(f"people tiny ({run_id})" in page for run_id in ids)


def test_pipelines_are_chosen_by_name_or_id(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest, *_, oldest = find_pipelines(home, [])
    compare(home, ["people tiny", oldest.run_id[:10]], tmp_path / "two.html", Console(width=200))
    assert (tmp_path / "two.html").read_text().count("--swatch") == 3  # twice as a line, once in the style sheet
    printed = capsys.readouterr().out
    assert newest.run_id[:8] in printed
    assert str(tmp_path / "two.html") in printed


def test_mistakes_are_sentences(home: Home, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no runs in"):
        compare(Home(tmp_path / "nothing"), [], None, Console())
    with pytest.raises(UserError, match='no finished pipeline is called "other"'):
        compare(home, ["other"], None, Console())
    with pytest.raises(UserError, match="is no folder"):
        compare(home, [], tmp_path / "missing" / "page.html", Console())
    newest = find_pipelines(home, [])[0]
    shutil.move(home.artifacts, home.root / "moved")
    try:
        with pytest.raises(UserError, match="people tiny is known, but its results are not there"):
            compare(home, [newest.run_id], None, Console())
    finally:
        shutil.move(home.root / "moved", home.artifacts)
