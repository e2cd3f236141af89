from typing import Any

import pytest

from pipeline.plan import Plan, make_plan
from reid_core.errors import UserError
from stages.stage import StageConfig
from tests.pipeline.toys import CONFIGS, STAGES, LoopConfig, SumConfig


def _plan(configs: dict[str, StageConfig] | None = None, **options: str | tuple[str, ...]) -> Plan:
    return make_plan(STAGES, {**CONFIGS, **(configs or {})}, {"numbers": lambda: "digest"}, **options)  # type: ignore[arg-type]


def test_a_change_reaches_what_reads_it_and_nothing_else() -> None:
    before, after = _plan(), _plan({"total": SumConfig(factor=2.0)})
    changed = {name for name in before.fingerprints if before.fingerprints[name] != after.fingerprints[name]}
    assert changed == {"total", "loop"}
    last = _plan({"loop": LoopConfig(num_epochs=5)})
    assert {n for n in before.fingerprints if before.fingerprints[n] != last.fingerprints[n]} == {"loop"}


def test_other_content_changes_everything() -> None:
    other = make_plan(STAGES, CONFIGS, {"numbers": lambda: "other"})
    assert not set(other.fingerprints.values()) & set(_plan().fingerprints.values())


def test_until_stops_after_a_stage() -> None:
    assert [stage.name for stage in _plan(last="total").stages] == ["numbers", "total"]


def test_from_runs_the_rest_again() -> None:
    assert _plan(first="total").again == {"total", "loop"}
    assert _plan().again == frozenset()


def test_force_runs_what_reads_it_again() -> None:
    assert _plan(force=("numbers",)).again == {"numbers", "total", "loop"}
    assert _plan(force=("loop",)).again == {"loop"}


@pytest.mark.parametrize(("option", "value"), [("first", "lop"), ("last", "lop"), ("force", ("lop",))])
def test_an_unknown_stage_is_refused(option: str, value: str | tuple[str, ...]) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(UserError, match='wants one of numbers, total, loop, but got "lop"'):
        _plan(**options)


def test_an_empty_stretch_is_refused() -> None:
    with pytest.raises(UserError, match="--from loop comes after --until total"):
        _plan(first="loop", last="total")
