import shutil
from pathlib import Path

import pytest
from rich.console import Console

from infra.home import Home
from infra.tracking.store import RunStore
from pipeline.compare import compare, find_pipelines
from reid_core.errors import UserError
from tests.stages.reporting.folders import finished_stages


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
