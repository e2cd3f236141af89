from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from annotated_types import Ge

from pipeline import config
from pipeline.config import all_keys, configure, flat, neutral_keys, parse_override, read_config_file
from pipeline.plan import STAGES as REAL_STAGES
from reid_core.errors import UserError
from stages.stage import ResultNeutral, StageConfig
from tests.pipeline.toys import STAGES, LoopConfig, NumbersConfig, StepConfig


def _configure(*overrides: str, file: dict[str, Any] | None = None, seed: int | None = None) -> dict[str, StageConfig]:
    preset = {"loop": LoopConfig(num_epochs=5)}
    return configure(STAGES, preset, file=file, overrides=[parse_override(text) for text in overrides], seed=seed)


def test_the_last_word_wins() -> None:
    assert _configure()["loop"] == LoopConfig(num_epochs=5)
    file = {"loop": {"num_epochs": 6, "step": {"size": 2}}}
    assert _configure(file=file)["loop"] == LoopConfig(num_epochs=6, step=StepConfig(size=2))
    assert _configure("loop.num_epochs=7", file=file)["loop"] == LoopConfig(num_epochs=7, step=StepConfig(size=2))
    assert _configure("numbers.count=9")["numbers"] == NumbersConfig(count=9)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("loop.angles=[0, 90, 180]", "angles", (0, 90, 180)),
        ("loop.step.size=1e-3", "step", StepConfig(size=1e-3)),
        ("loop.num_epochs=3", "num_epochs", 3),
    ],
)
def test_values_are_what_they_look_like(text: str, field: str, value: Any) -> None:
    assert getattr(_configure(text)["loop"], field) == value


def test_a_seed_reaches_every_stage_that_has_one_and_an_override_wins() -> None:
    configs = _configure(seed=3)
    assert isinstance(configs["loop"], LoopConfig)
    assert configs["loop"].seed == 3
    configs = _configure("loop.seed=4", seed=3)
    assert isinstance(configs["loop"], LoopConfig)
    assert configs["loop"].seed == 4


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("loop.num_epoch=3", "loop.num_epochs"),
        ("lop.num_epochs=3", "loop.num_epochs"),
        ("num_epochs=3", "loop.num_epochs"),
        ("loop.size=3", "loop.step.size"),
        ("loop.step.sise=3", "loop.step.size"),
        ("numbers.cuont=3", "numbers.count"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(text: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"did you mean {nearest}\\?"):
        _configure(text)


def test_an_unknown_key_of_a_file_is_refused_too() -> None:
    with pytest.raises(UserError, match=r"loop.step.sise.*did you mean loop.step.size"):
        _configure(file={"loop": {"step": {"sise": 1}}})
    with pytest.raises(UserError, match=r'no configuration key "lop"; did you mean loop\?'):
        _configure(file={"lop": {}})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("loop.num_epochs=0", "loop.num_epochs: should be greater than or equal to 1, but 0 came"),
        ("loop.num_epochs=many", "loop.num_epochs: should be a valid integer.* but 'many' came"),
        ("loop.step.size=11", "loop.step.size: should be less than or equal to 10, but 11 came"),
        ("total.factor=0", "total.factor: should be greater than 0, but 0 came"),
        ("loop.step=3", '"loop.step" is a group of settings; set one of them, such as loop.step.size'),
    ],
)
def test_a_value_out_of_range_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        _configure(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["loop.num_epochs", "=3", "--joint"])
def test_what_is_no_override_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="an override looks like"):
        parse_override(text)


def test_names_and_values_under_dotted_keys() -> None:
    assert all_keys({"loop": LoopConfig}) == ["loop.num_epochs", "loop.angles", "loop.step.size", "loop.seed"]
    shown = flat({"loop": LoopConfig()})
    assert shown == {"loop.num_epochs": "3", "loop.angles": "[0, 45]", "loop.step.size": "0.5", "loop.seed": "0"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "loop:\n  step: {size: 2}\n"),
        ("a.json", '{"loop": {"step": {"size": 2}}}'),
        ("a.toml", "[loop.step]\nsize = 2\n"),
    ],
)
def test_files_of_three_kinds(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_config_file(tmp_path / name) == {"loop": {"step": {"size": 2}}}


@pytest.mark.parametrize(("name", "text"), [("a.yaml", "{"), ("a.json", "{"), ("a.toml", "["), ("b.yaml", "- 1\n")])
def test_a_broken_file_is_refused_in_one_sentence(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="the configuration file") as error:
        read_config_file(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_config_file(tmp_path / "none.yaml")


@dataclass(frozen=True)
class _Steps:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    size: Annotated[float, Ge(0)] = 1.0
    threads: Annotated[int, Ge(1), ResultNeutral()] = 1


class _Marked(StageConfig):
    steps: _Steps = _Steps()
    saved: Annotated[_Steps | None, ResultNeutral()] = None
    looks: Annotated[int, ResultNeutral(display=True)] = 1


def test_marks_are_found_in_nested_settings_of_both_kinds() -> None:
    everything = ["a.steps.size", "a.steps.threads", "a.saved.size", "a.saved.threads", "a.looks"]
    assert all_keys({"a": _Marked}) == everything
    assert neutral_keys(_Marked, display=False) == {"steps.threads", "saved.size", "saved.threads"}
    assert neutral_keys(_Marked, display=True) == {"steps.threads", "saved.size", "saved.threads", "looks"}


def test_settings_in_a_dataclass_are_refused_like_those_of_a_model() -> None:
    stages = [replace(STAGES[0], config=_Marked)]
    with pytest.raises(UserError, match=r"numbers.steps.size: should be greater than or equal to 0, but -1 came"):
        configure(stages, {}, overrides=[("numbers.steps.size", -1)])
    with pytest.raises(UserError, match=r"did you mean numbers.steps.size"):
        configure(stages, {}, file={"numbers": {"steps": {"sise": 1}}})


def test_a_key_of_an_earlier_version_is_refused_with_the_one_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"loop.epochs": "loop.num_epochs", "loop.old": "one pass does the work of three"}
    monkeypatch.setattr(config, "RENAMED", gone)
    for given in ({"overrides": [("loop.epochs", 3)]}, {"file": {"loop": {"epochs": 3}}}):
        with pytest.raises(UserError, match=r'the key "loop.epochs" is now loop.num_epochs; rename it'):
            configure(STAGES, {}, **given)
    with pytest.raises(UserError, match=r'the key "loop.old" is gone: one pass does the work of three'):
        configure(STAGES, {}, overrides=[("loop.old", 1)])


def test_renamed_keys_name_keys_that_exist() -> None:
    keys = all_keys({stage.name: stage.config for stage in REAL_STAGES})
    assert not set(config.RENAMED) & set(keys)
    assert {new for new in config.RENAMED.values() if " " not in new} <= set(keys)


def test_groups_are_not_values_wherever_they_come_from() -> None:
    with pytest.raises(UserError, match=r'"loop" is a group of settings; set one of them, such as loop.num_epochs'):
        _configure(file={"loop": 3})
    with pytest.raises(UserError, match=r"loop.num_epochs: .*should be a valid integer"):
        _configure("loop.num_epochs.more=3")
    with pytest.raises(UserError, match=r'no configuration key "lop.angles"; did you mean loop.angles\?'):
        _configure("lop.angles=[0]")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "loop: {num_epochs: 3}\nnumbers: {count: 2}\nloop: {seed: 1}\n"),
        ("a.yaml", "loop:\n  seed: 1\n  seed: 2\n"),
        ("a.json", '{"loop": {"num_epochs": 3}, "loop": {"seed": 1}}'),
    ],
)
def test_a_section_or_setting_that_stands_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="stands there twice"):
        read_config_file(tmp_path / name)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"loop": {"seed": 1}}', encoding="utf-8-sig")
    assert read_config_file(path) == {"loop": {"seed": 1}}


def test_brackets_without_end_are_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("[" * 400)
    with pytest.raises(UserError, match="is not valid"):
        read_config_file(path)
    with pytest.raises(UserError, match="cannot be read; put quotes around it"):
        parse_override("loop.angles=" + "[" * 400)
    with pytest.raises(UserError, match="File name too long"):
        read_config_file(tmp_path / ("x" * 300))
