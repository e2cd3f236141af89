import dataclasses

import pytest

from pipeline.command import Options
from pipeline.tune.prepare import SearchOptions, prepare, rungs_of
from pipeline.tune.ray_tune import Schedule
from reid_core.errors import UserError

_OPTIONS = SearchOptions(Options(overrides=("joint.num_epochs=8",)), vary=("joint.lr=log(1e-4, 1e-2)",), num_trials=4)


@pytest.mark.parametrize(
    ("grace", "epochs", "reduction", "rungs"),
    [(2, 8, 2, [2, 4]), (1, 20, 3, [1, 3, 9]), (4, 4, 2, []), (2, 8, 0, [])],
)
def test_trials_are_compared_at_rungs_before_their_last_epoch(
    grace: int, epochs: int, reduction: int, rungs: list[int]
) -> None:
    assert rungs_of(Schedule(8, 2, epochs, grace, reduction, 0)) == rungs


def test_a_search_shares_the_stages_above_what_varies_and_listens_below() -> None:
    search = prepare(_OPTIONS)
    assert search.stage == "joint"
    assert search.shared is not None
    assert [stage.name for stage in search.shared.stages] == ["data", "mesh", "identity", "generator", "cluster"]
    assert (search.schedule.num_epochs, search.schedule.grace_epochs) == (8, 2)
    assert search.dataset == "synthetic"


def test_a_search_is_known_by_what_would_change_its_results() -> None:
    name = prepare(_OPTIONS).name
    assert name.startswith("settings-")
    assert prepare(_OPTIONS).name == name
    longer = dataclasses.replace(_OPTIONS, pipeline=Options(overrides=("joint.num_epochs=6",)))
    for other in (longer, dataclasses.replace(_OPTIONS, num_trials=5), dataclasses.replace(_OPTIONS, seed=1)):
        assert prepare(other).name != name


def test_a_search_runs_on_ray() -> None:
    with pytest.raises(UserError, match="a search runs on Ray"):
        prepare(dataclasses.replace(_OPTIONS, pipeline=Options(executor="local")))
