from dataclasses import replace

import pytest

from pipeline.plan import STAGES
from pipeline.tune.objective import OBJECTIVES, find_objective, listened_stage
from pipeline.tune.prepare import check_objective
from reid_core.errors import UserError
from stages.stage import Prospect

_NEEDS = {stage.name: stage.needs for stage in STAGES}


def test_no_default_objective_uses_labels() -> None:
    for searched in ({"joint"}, {"identity"}, {"generator"}, {"generator", "joint"}):
        assert not find_objective(None, searched).uses_labels
    assert [objective.name for objective in OBJECTIVES if objective.uses_labels] == ["labelled-mAP"]


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(UserError, match="--objective wants one of"):
        find_objective("accuracy", {"joint"})


@pytest.mark.parametrize(
    ("objective", "searched", "stage"),
    [
        ("agreement", {"joint"}, "joint"),
        ("agreement", {"identity"}, "identity"),
        ("agreement", {"mesh"}, "joint"),  # the warm-up does not read meshes
        ("agreement", {"identity", "generator"}, "joint"),
        ("cycle", {"generator"}, "generator"),
        ("cycle", {"mesh"}, "generator"),
    ],
)
def test_the_first_stage_that_depends_on_everything_varied_is_listened_to(
    objective: str, searched: set[str], stage: str
) -> None:
    assert listened_stage(find_objective(objective, searched), searched, _NEEDS) == stage


def test_settings_that_the_objective_does_not_depend_on_are_refused() -> None:
    with pytest.raises(UserError, match="do not depend on the searched settings of joint"):
        listened_stage(find_objective("cycle", {"joint"}), {"joint"}, _NEEDS)


@pytest.mark.parametrize(
    ("name", "stage", "settings", "sentence"),
    [
        ("labelled-mAP", "joint", {}, "cannot be measured: no queries; choose another --objective"),
        ("agreement", "joint", {"joint": {"num_epochs": 1}}, "leaves no epoch before"),
        ("clustered-agreement", "identity", {"identity": {"num_epochs": 1}}, "leaves no epoch before"),
        ("cycle", "generator", {"mesh": {"source": "none"}}, "nobody who could be turned"),
        ("cycle", "generator", {"generator": {"rotation": False}}, "turns nobody"),
        ("cycle", "generator", {"generator": {"num_epochs": 5, "rotation_from_epoch": 5}}, "turns nobody"),
    ],
)
def test_an_objective_that_no_trial_could_log_is_refused(
    name: str, stage: str, settings: dict[str, dict[str, object]], sentence: str
) -> None:
    prospect = Prospect(100, 0, is_rendered=False, not_ranked="no queries", image_size=(64, 32))
    configs = {one.name: one.config.model_validate(settings.get(one.name, {})) for one in STAGES}
    with pytest.raises(UserError, match=sentence):
        check_objective(find_objective(name, set()), stage, configs, prospect)
    ranked = replace(prospect, not_ranked=None)
    check_objective(find_objective(name, set()), stage, {one.name: one.config() for one in STAGES}, ranked)
