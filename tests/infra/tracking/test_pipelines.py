from collections.abc import Mapping

import pytest

from infra.home import Home
from infra.tracking.pipelines import PipelineRun, choose_pipelines, list_pipelines
from infra.tracking.store import RunStore
from reid_core.errors import UserError


def _pipeline(store: RunStore, name: str, stages: Mapping[str, str | None], **tags: str) -> tuple[str, dict[str, str]]:
    """Leave a finished pipeline; a stage given by a run id was reused, the others are new."""
    parent = store.start(name, params={}, tags=tags, parent=None)
    held = {}
    for stage, reused in stages.items():
        if reused is None:
            held[stage] = store.start(stage, params={}, tags={"stage": stage}, parent=parent)
            store.end(held[stage], "FINISHED")
        else:
            held[stage] = reused
            store.tag(parent, f"reused.{stage}", reused)
    store.end(parent, "FINISHED")
    return parent, held


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def pipelines(home: Home) -> list[PipelineRun]:
    uri = f"sqlite:///{home.database}"
    people, others = (RunStore(home, uri, name) for name in ("people", "others"))
    _, first = _pipeline(people, "pipeline", {"data": None, "joint": None}, preset="tiny", seed="0")
    _pipeline(people, "people tiny seed 1", {"data": first["data"], "joint": None}, kind="pipeline")
    _pipeline(people, "people tiny seed 1", {"data": first["data"], "joint": first["joint"]}, kind="pipeline")
    _pipeline(others, "others paper", {"data": None}, kind="pipeline")
    others.start("others broken", params={}, tags={"kind": "pipeline"}, parent=None)
    people.end(people.start("search", params={}, tags={"kind": "search"}, parent=None), "FINISHED")
    return list_pipelines(uri)


def test_finished_pipelines_newest_first_and_each_result_once(pipelines: list[PipelineRun]) -> None:
    # The third one reused everything of the first, so it stands for it.
    assert [one.title for one in pipelines] == ["others paper", "people tiny seed 1", "people tiny seed 1"]
    assert [one.experiment for one in pipelines] == ["others", "people", "people"]
    assert set(pipelines[1].stages) == {"data", "joint"}
    assert pipelines[1].stages["data"] == pipelines[2].stages["data"]
    assert pipelines[1].stages["joint"] != pipelines[2].stages["joint"]


def test_they_are_called_by_name_by_id_and_by_the_id_of_a_stage(pipelines: list[PipelineRun]) -> None:
    newest, middle, _ = pipelines
    assert choose_pipelines(pipelines, []) == pipelines
    assert choose_pipelines(pipelines, ["people tiny seed 1"]) == [middle]
    assert choose_pipelines(pipelines, [middle.run_id[:8], newest.title, middle.title]) == [middle, newest]
    assert choose_pipelines(pipelines, [pipelines[2].stages["joint"].run_id]) == [pipelines[2]]
    with pytest.raises(UserError, match=r'called "nobody"; there are: others paper \('):
        choose_pipelines(pipelines, ["nobody"])
