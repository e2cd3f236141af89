import pytest

from pipeline.plan import STAGES
from pipeline.tune.objective import OBJECTIVES, find_objective, listened_stage
from reid_core.errors import UserError

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
